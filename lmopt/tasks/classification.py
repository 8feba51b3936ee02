"""Text classification: match the outputs of a head to the task's classes."""

import re

import torch
from torch import nn
from transformers import PreTrainedModel

from lmopt.errors import UserError


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
    raise UserError(
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
