"""The teacher: fine-tuned once, or used as it is when it already knows the task."""

import re
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from lmopt.config import TeacherConfig
from lmopt.distill import distillation_loss
from lmopt.examples import Examples
from lmopt.models import load_classifier, load_config, load_tokenizer, save_model
from lmopt.training import Progress, TrainingSettings, train_classifier

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
        raise ValueError(
            f"teacher.finetuned is true, but {teacher.model} has {head} and the task has "
            f"{len(label_names)} classes: set teacher.finetuned to false to train one"
        )
    return fits


def label_order(id2label: dict[int, str], label_names: list[str]) -> list[int]:
    """For each of the task's classes, the index of the model's output that means it.

    Names decide, ignoring case. A head with generic names (LABEL_0, ...) is taken in its own order
    if the task's classes are the integers 0, 1, ...; else ValueError.
    """
    count = len(label_names)
    ours = [name.casefold() for name in label_names]
    theirs = [str(id2label[i]).casefold() for i in range(count)]
    if sorted(theirs) == sorted(ours):
        return [theirs.index(name) for name in ours]
    generic = all(re.fullmatch(r"label_\d+", name) for name in theirs)
    if generic and label_names == [str(i) for i in range(count)]:
        return list(range(count))
    raise ValueError(
        f"the teacher's classes ({', '.join(id2label[i] for i in range(count))}) are not the "
        f"task's ({', '.join(label_names)}): set id2label in its config.json, "
        "or teacher.finetuned to false to train a new head"
    )


@torch.no_grad()
def reorder_head(model: PreTrainedModel, order: list[int], label_names: list[str]) -> None:
    """Permute the head's outputs, in place, so that output i means `label_names[i]`."""
    heads = [m for m in model.modules() if isinstance(m, nn.Linear)]
    head = [m for m in heads if m.out_features == len(order)][-1]
    head.weight.copy_(head.weight[order].clone())
    if head.bias is not None:
        head.bias.copy_(head.bias[order].clone())
    model.config.id2label = dict(enumerate(label_names))
    model.config.label2id = {name: i for i, name in enumerate(label_names)}


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
