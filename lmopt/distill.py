"""Distillation: the loss, and the training of a student on a teacher's logits."""

from pathlib import Path

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from lmopt.examples import Examples
from lmopt.features import feature_loss
from lmopt.models import load_classifier, load_tokenizer, save_model
from lmopt.training import LossFunction, Progress, TrainingSettings, train_classifier
from lmopt.zeros import zeros_of

VERSION = 2


def kd_loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Soft loss: T^2 x KL(teacher || student) of the distributions softened by `temperature`.

    Both logits are (batch, classes); returns the batch mean in nats. The factor T^2 keeps the
    gradient's size independent of T.

    Source: Hinton, Vinyals, Dean (2015), Distilling the Knowledge in a Neural Network, section 2.
    """
    student = log_softmax(student_logits / temperature, dim=-1)
    teacher = log_softmax(teacher_logits / temperature, dim=-1)
    return temperature**2 * kl_div(student, teacher, reduction="batchmean", log_target=True)


def distillation_loss(temperature: float, alpha: float) -> LossFunction:
    """alpha x soft loss + (1 - alpha) x cross-entropy; `alpha` 0 needs no teacher logits.

    A text whose label is -1 has no cross-entropy; it counts in the mean all the same, so that the
    weight of a labelled text does not depend on its neighbours.
    """

    def loss(
        logits: torch.Tensor, labels: torch.Tensor, teacher_logits: torch.Tensor | None
    ) -> torch.Tensor:
        hard = cross_entropy(logits, labels, ignore_index=-1, reduction="sum") / len(labels)
        total = (1 - alpha) * hard
        if alpha > 0:
            if teacher_logits is None:
                raise ValueError(f"alpha is {alpha}: the soft loss needs the teacher's logits")
            total = total + alpha * kd_loss(logits, teacher_logits, temperature)
        return total

    return loss


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

    With a weight for hidden states or attention, the saved `teacher` reads each batch beside it.
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
