"""The teacher: fine-tuned once, or used unchanged if it is already fine-tuned on the task."""

from pathlib import Path

import torch

from lmopt.config.models import TeacherConfig
from lmopt.data.batches import Examples
from lmopt.models.loading import load_tokenizer, save_model
from lmopt.progress import Progress
from lmopt.tasks.base import Task
from lmopt.training.losses import distillation_loss
from lmopt.training.trainer import TrainingSettings, train_classifier

VERSION = 1


def build_teacher(
    task: Task,
    teacher: TeacherConfig,
    label_names: list[str],
    examples: Examples,
    device: str,
    folder: Path,
    scratch: Path,
    progress: Progress | None = None,
) -> None:
    """Save the fine-tuned teacher into `folder`; `examples` are those of the training split."""
    tokenizer = load_tokenizer(teacher.model)
    if task.is_finetuned(teacher, label_names):
        model = task.load_finetuned(teacher.model, label_names)
    else:
        torch.manual_seed(teacher.seed)
        model = task.load_untrained(teacher.model, label_names)
        fields = teacher.model_dump(exclude={"model", "finetuned"})
        settings = TrainingSettings(**fields, device=device)
        train_classifier(
            model,
            examples,
            distillation_loss(temperature=1.0, alpha=0.0, hard=task.loss, soft=task.soft_loss),
            settings,
            scratch=scratch,
            stage="teacher",
            progress=progress,
        )
    save_model(model, tokenizer, folder)
