"""Train a student on a teacher's logits, hidden states and attention."""

from pathlib import Path

from lmopt.data.batches import Examples
from lmopt.models.loading import load_classifier, load_tokenizer, save_model
from lmopt.models.zeros import zeros_of
from lmopt.progress import Progress
from lmopt.training.imitation import feature_loss
from lmopt.training.losses import distillation_loss
from lmopt.training.trainer import TrainingSettings, train_classifier

VERSION = 2


def distill(
    student: Path,
    examples: Examples,
    settings: TrainingSettings,
    *,
    temperature: float,
    alpha: float,
    folder: Path,
    scratch: Path,
    progress: Progress | None = None,
    teacher: Path | None = None,
    hidden_weight: float = 0,
    attention_weight: float = 0,
) -> None:
    """Train the saved classifier `student` on the teacher's logits and save it into `folder`.

    If `hidden_weight` or `attention_weight` is positive, the saved `teacher` reads each batch too.

    Raises:
        ValueError: One of these weights is positive and `teacher` is None.
        DivergedError: The loss is not finite.
    """
    model = load_classifier(student)
    features = None
    if hidden_weight > 0 or attention_weight > 0:
        if teacher is None:
            raise ValueError("hidden_weight and attention_weight need the teacher's folder")
        features = feature_loss(
            model,
            student,
            teacher,
            hidden_weight=hidden_weight,
            attention_weight=attention_weight,
            seed=settings.seed,
        )
    train_classifier(
        model,
        examples,
        distillation_loss(temperature, alpha),
        settings,
        scratch=scratch,
        stage="distill",
        progress=progress,
        features=features,
        after_step=zeros_of(model),
    )
    if features is not None:
        features.detach()
    save_model(model, load_tokenizer(student), folder)
