"""Train with the weights as they will be stored: quantization-aware training and codebooks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from lmopt.compression.clustering import clustered
from lmopt.data.batches import Examples
from lmopt.models.loading import load_classifier, load_tokenizer, save_model
from lmopt.models.zeros import zeros_of
from lmopt.progress import Progress
from lmopt.training.losses import distillation_loss
from lmopt.training.trainer import TrainingSettings, train_classifier
from lmopt.weights.plan import Plan, matrices, plan_storage
from lmopt.weights.rounding import Format, straight_through

VERSION = 2


class _Stored(nn.Module):
    """A parametrization that rounds the weight as the artifact stores it."""

    def __init__(self, stored: Format) -> None:
        super().__init__()
        self.stored = stored

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return straight_through(weight, self.stored)


@contextmanager
def quantized(model: nn.Module, plan: Plan) -> Iterator[None]:
    """Make forward passes use the planned matrices as the artifact stores them.

    The unrounded weights train inside the context and remain after it. In an embedding only the
    rows of the batch are rounded. The result is the same, because no group spans two rows.
    """
    chosen = [
        (module, stored)
        for name, module in matrices(model).items()
        if isinstance(stored := plan.get(name), Format) and stored.bits < 32
    ]
    hooks = []
    for module, stored in chosen:
        if isinstance(module, nn.Embedding):
            hooks.append(module.register_forward_hook(_round_output(stored)))
        else:
            parametrize.register_parametrization(module, "weight", _Stored(stored))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, _ in chosen:
            if parametrize.is_parametrized(module):
                inside: Any = module.parametrizations
                original = inside.weight.original.detach()
                parametrize.remove_parametrizations(module, "weight")
                with torch.no_grad():
                    module.weight.copy_(original)


def _round_output(stored: Format) -> Any:
    return lambda module, inputs, output: straight_through(output, stored)


def finetune_stored(
    model_folder: Path,
    examples: Examples,
    settings: TrainingSettings,
    *,
    storage: dict[str, Any],
    temperature: float,
    alpha: float,
    folder: Path,
    scratch: Path,
    progress: Progress | None = None,
) -> None:
    """Train a saved classifier with its weights as stored by `plan_storage(model, **storage)`.

    Clustered matrices are saved with their codebooks' values. Quantized matrices are saved
    unrounded. The artifact rounds them to the values that the training used.
    """
    model = load_classifier(model_folder)
    plan = plan_storage(model, **storage)
    hold_zeros = zeros_of(model)
    with clustered(model, plan), quantized(model, plan):
        if settings.epochs > 0:
            train_classifier(
                model,
                examples,
                distillation_loss(temperature, alpha),
                settings,
                scratch=scratch,
                stage="finetune",
                progress=progress,
                after_step=hold_zeros,
            )
    save_model(model, load_tokenizer(model_folder), folder)
