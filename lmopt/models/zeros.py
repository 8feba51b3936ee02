"""Exact zeros in the encoder's matrices: where they may be, how many there are, how they stay."""

from collections.abc import Callable

import torch
from torch import nn
from transformers import PreTrainedModel

from lmopt.errors import UserError
from lmopt.models.families.registry import encoder_layers

FEW = 0.01  # Of all weights: no pruning made these.


def prunable_matrices(model: PreTrainedModel) -> list[nn.Linear]:
    """Matrices of the encoder layers; of layers that share theirs (ALBERT), each once.

    A threshold over the whole model empties the pooler at high sparsity, and the model with it.
    """
    modules = encoder_layers(model).modules()
    return [module for module in modules if isinstance(module, nn.Linear)]


def zeros_of(model: PreTrainedModel) -> Callable[[], None] | None:
    """A function that zeroes again what is zero now in the prunable matrices; None if little is.

    For training that comes after pruning: the optimizer would move the zeros.
    """
    try:
        weights = [matrix.weight for matrix in prunable_matrices(model)]
    except UserError:  # A family without a stack of layers cannot have been pruned.
        return None
    masks = [weight != 0 for weight in weights]
    if not weights or sum(int((~m).sum()) for m in masks) < FEW * sum(m.numel() for m in masks):
        return None

    @torch.no_grad()
    def hold() -> None:
        for weight, mask in zip(weights, masks, strict=True):
            weight.mul_(mask.to(weight.device))

    return hold


def measured_sparsity(model: PreTrainedModel) -> float:
    """Share of exact zeros among all parameters of the model."""
    zeros = sum(int((parameter == 0).sum()) for parameter in model.parameters())
    return float(zeros / sum(parameter.numel() for parameter in model.parameters()))
