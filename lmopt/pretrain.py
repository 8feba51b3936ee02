"""General distillation: a student learns its teacher's hidden states on any text, before the task.

No labels and no logits are needed, so text of another kind than the task's helps here, where as
text with the teacher's soft labels it hurts.

Source: Jiao et al. (2020), TinyBERT, section 3.2 (there with a teacher that is not fine-tuned).
"""

from pathlib import Path

import torch

from lmopt.examples import Examples
from lmopt.features import feature_loss
from lmopt.models import load_classifier, load_tokenizer, save_model
from lmopt.training import Progress, TrainingSettings, train_classifier

VERSION = 1


def pretrain(
    student: Path,
    examples: Examples,
    settings: TrainingSettings,
    *,
    teacher: Path,
    folder: Path,
    scratch: Path,
    progress: Progress | None = None,
) -> None:
    """Train the saved classifier `student` on the hidden states of `teacher`, save it to `folder`.

    Its head keeps its values. Raises ValueError for a student that reads other tokens than its
    teacher does, DivergedError if the loss is not finite.
    """
    model = load_classifier(student)
    features = feature_loss(
        model, student, teacher, hidden_weight=1, attention_weight=0, seed=settings.seed
    )
    train_classifier(
        model,
        examples,
        _no_loss,
        settings,
        scratch=scratch,
        stage="pretrain",
        progress=progress,
        features=features,
    )
    features.detach()
    save_model(model, load_tokenizer(student), folder)


def _no_loss(logits: torch.Tensor, labels: torch.Tensor, _: torch.Tensor | None) -> torch.Tensor:
    """Nothing is asked of the logits."""
    return 0 * logits.sum()
