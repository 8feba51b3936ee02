"""Unstructured magnitude pruning: the smallest weights of each encoder matrix become zero."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from lmopt.distill import distillation_loss
from lmopt.examples import Examples
from lmopt.student import encoder_layers, load_classifier, load_tokenizer, save_model
from lmopt.training import Progress, TrainingSettings, train_classifier

VERSION = 1


def prunable_weights(model: PreTrainedModel) -> list[torch.Tensor]:
    """Matrices of the encoder layers. Embeddings, pooler and head stay dense.

    A threshold over the whole model empties the pooler at high sparsity, and the model with it.
    """
    modules = encoder_layers(model).modules()
    return [module.weight for module in modules if isinstance(module, nn.Linear)]


def magnitude_mask(weight: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Boolean mask of the weights to keep: all but the round(sparsity x n) smallest magnitudes.

    Source: Han et al. (2015), Learning both Weights and Connections for Efficient Neural Networks.
    """
    mask = torch.ones(weight.numel(), dtype=torch.bool)
    smallest = weight.detach().abs().flatten().argsort()[: round(sparsity * weight.numel())]
    mask[smallest] = False
    return mask.view_as(weight)


def prune_magnitude(model: PreTrainedModel, sparsity: float) -> Callable[[], None]:
    """Set `sparsity` of each prunable matrix to zero, in place.

    Returns a function that zeroes the same weights again: called after each optimizer step, it
    holds the mask through recovery training.
    """
    weights = prunable_weights(model)
    masks = [magnitude_mask(weight, sparsity) for weight in weights]

    @torch.no_grad()
    def hold() -> None:
        for i, weight in enumerate(weights):
            masks[i] = masks[i].to(weight.device)
            weight.mul_(masks[i])

    hold()
    return hold


def measured_sparsity(model: PreTrainedModel) -> float:
    """Share of exact zeros among all parameters of the model."""
    zeros = sum(int((parameter == 0).sum()) for parameter in model.parameters())
    return float(zeros / sum(parameter.numel() for parameter in model.parameters()))


def prune(
    model_folder: Path,
    examples: Examples,
    settings: TrainingSettings,
    *,
    sparsity: float,
    temperature: float,
    alpha: float,
    folder: Path,
    scratch: Path,
    progress: Progress | None = None,
) -> None:
    """Prune a saved classifier, recover it for `settings.epochs`, save it into `folder`."""
    model = load_classifier(model_folder)
    hold = prune_magnitude(model, sparsity)
    if settings.epochs > 0:
        train_classifier(
            model,
            examples,
            distillation_loss(temperature, alpha),
            settings,
            scratch=scratch,
            stage="prune",
            progress=progress,
            after_step=hold,
        )
    save_model(model, load_tokenizer(model_folder), folder)
