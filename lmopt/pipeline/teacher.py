"""The teacher: fine-tuned once, or used as it is when it already knows the task."""

from pathlib import Path

import torch

from lmopt.config.models import TeacherConfig
from lmopt.data.batches import Examples
from lmopt.errors import UserError
from lmopt.models.loading import load_classifier, load_config, load_tokenizer, save_model
from lmopt.progress import Progress
from lmopt.tasks.classification import label_order, reorder_head
from lmopt.training.losses import distillation_loss
from lmopt.training.trainer import TrainingSettings, train_classifier

VERSION = 1


def is_finetuned(teacher: TeacherConfig, label_names: list[str]) -> bool:
    """Whether the checkpoint has a classification head with as many classes as the task.

    Raises ValueError where `finetuned: true` is asked of a checkpoint without such a head.
    """
    if teacher.finetuned is False:
        return False
    config = load_config(teacher.model)
    architectures = config.architectures or []
    has_head = any(name.endswith("ForSequenceClassification") for name in architectures)
    fits = has_head and config.num_labels == len(label_names)
    if teacher.finetuned and not fits:
        head = f"a head of {config.num_labels} classes" if has_head else "no classification head"
        raise UserError(
            f"teacher.finetuned is true, but {teacher.model} has {head} and the task has "
            f"{len(label_names)} classes: set teacher.finetuned to false to train one"
        )
    return fits


def build_teacher(
    teacher: TeacherConfig,
    label_names: list[str],
    examples: Examples,
    device: str,
    folder: Path,
    scratch: Path,
    progress: Progress | None = None,
) -> None:
    """Save the fine-tuned teacher into `folder`; `examples` are the training split's."""
    tokenizer = load_tokenizer(teacher.model)
    if is_finetuned(teacher, label_names):
        model = load_classifier(teacher.model)
        reorder_head(model, label_order(model.config.id2label, label_names), label_names)
    else:
        torch.manual_seed(teacher.seed)
        model = load_classifier(teacher.model, label_names)
        fields = teacher.model_dump(exclude={"model", "finetuned"})
        settings = TrainingSettings(**fields, device=device)
        train_classifier(
            model,
            examples,
            distillation_loss(temperature=1.0, alpha=0.0),
            settings,
            scratch=scratch,
            stage="teacher",
            progress=progress,
        )
    save_model(model, tokenizer, folder)
