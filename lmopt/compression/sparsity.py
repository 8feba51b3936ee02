"""Unstructured pruning: single weights of the encoder's matrices become zero.

Pruning changes neither the size of the file nor the speed of the model. It reduces the size of the
compressed file (`lmopt.runtimes.manifest.transfer_bytes`). Embeddings, pooler and head stay dense.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from lmopt.data.batches import Examples
from lmopt.models.loading import load_classifier, load_tokenizer, save_model
from lmopt.models.zeros import prunable_matrices
from lmopt.progress import Progress
from lmopt.training.calibration import calibration_batches
from lmopt.training.device import pick_device
from lmopt.training.losses import distillation_loss
from lmopt.training.schedule import cubic, on_schedule, optimizer_steps
from lmopt.training.trainer import TrainingSettings, train_classifier

VERSION = 2
UPDATES = 16  # The number of times that a gradual schedule raises the sparsity.
SCHEDULE_SHARE = 2 / 3  # The part of the recovery that prunes. The mask is fixed after it.
SparsityCriterion = Literal["magnitude", "global_magnitude", "wanda"]
SparsitySchedule = Literal["one_shot", "cubic"]


def smallest(score: torch.Tensor, share: float) -> torch.Tensor:
    """Return a mask that is true for the round(share x n) smallest entries of each row (..., n)."""
    count = round(share * score.shape[-1])
    mask = torch.zeros_like(score, dtype=torch.bool)
    indices = score.topk(count, largest=False, sorted=False).indices
    return mask.scatter_(-1, indices, True)


def magnitude_mask(weight: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Return a boolean mask that is false for the round(sparsity x n) smallest magnitudes.

    Source: Han et al. (2015), Learning both Weights and Connections for Efficient Neural Networks.
    """
    return ~smallest(weight.detach().abs().flatten(), sparsity).view_as(weight)


def global_masks(weights: Sequence[torch.Tensor], sparsity: float) -> list[torch.Tensor]:
    """Return `magnitude_mask` of each matrix, with one threshold for all of them."""
    together = magnitude_mask(torch.cat([weight.flatten() for weight in weights]), sparsity)
    parts = torch.split(together, [weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


def wanda_mask(weight: torch.Tensor, norm: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Return a boolean mask that is false for the smallest |weight| x input norm of each row.

    `weight` is (out, in). `norm` (in,) is the L2 norm of each input feature over many tokens.

    Source: Sun et al. (2023), A Simple and Effective Pruning Approach for Large Language Models.
    """
    return ~smallest(weight.detach().abs() * norm, sparsity)


@torch.no_grad()
def input_norms(
    model: PreTrainedModel,
    matrices: Sequence[nn.Linear],
    examples: Examples,
    settings: TrainingSettings,
) -> list[torch.Tensor]:
    """Return each matrix's L2 norms of its input features (in,) over the calibration tokens."""
    model.to(pick_device(settings.device)).eval()
    squares = {matrix: torch.zeros_like(matrix.weight[0]) for matrix in matrices}
    tokens = torch.empty(0)  # Attention mask (batch, length) of the current batch.

    def add(matrix: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        (hidden,) = inputs
        if hidden.shape[:2] == tokens.shape:  # DeBERTa's relative positions differ.
            hidden = hidden[tokens.bool()]
        squares[matrix] += hidden.flatten(0, -2).square().sum(0)  # type: ignore[index]

    handles = [matrix.register_forward_pre_hook(add) for matrix in matrices]
    for batch in calibration_batches(model, examples, settings):
        tokens = batch["attention_mask"]
        model(input_ids=batch["input_ids"], attention_mask=tokens)
    for handle in handles:
        handle.remove()
    model.to("cpu")
    return [square.sqrt().cpu() for square in squares.values()]


@torch.no_grad()
def set_masks(
    matrices: Sequence[nn.Linear],
    sparsity: float,
    criterion: SparsityCriterion,
    norms: Sequence[torch.Tensor] = (),
) -> None:
    """Choose the weights to zero, and zero them.

    The masks are buffers `weight_mask`, so that a checkpoint holds them. Zeros have the smallest
    magnitude, so they stay zero if `sparsity` does not fall.
    """
    weights = [matrix.weight for matrix in matrices]
    if criterion == "wanda":
        pairs = zip(weights, norms, strict=True)
        masks = [wanda_mask(weight, norm.to(weight.device), sparsity) for weight, norm in pairs]
    elif criterion == "global_magnitude":
        masks = global_masks(weights, sparsity)
    else:
        masks = [magnitude_mask(weight, sparsity) for weight in weights]
    for matrix, mask in zip(matrices, masks, strict=True):
        matrix.register_buffer("weight_mask", mask)
    hold_masks(matrices)


@torch.no_grad()
def hold_masks(matrices: Sequence[nn.Linear]) -> None:
    """Set the masked weights to zero again after an optimizer step changed them."""
    for matrix in matrices:
        matrix.weight.mul_(matrix.get_buffer("weight_mask"))


def prune(
    model_folder: Path,
    examples: Examples,
    settings: TrainingSettings,
    *,
    sparsity: float,
    criterion: SparsityCriterion = "magnitude",
    schedule: SparsitySchedule = "one_shot",
    temperature: float,
    alpha: float,
    folder: Path,
    scratch: Path,
    progress: Progress | None = None,
) -> None:
    """Prune a saved classifier, recover it for `settings.epochs`, and save it into `folder`.

    The schedule "cubic" prunes during recovery. Without recovery, all weights are pruned at once.
    """
    model = load_classifier(model_folder)
    matrices = prunable_matrices(model)
    norms = input_norms(model, matrices, examples, settings) if criterion == "wanda" else []
    steps = optimizer_steps(len(examples.labels), settings)

    def set_share(done: float) -> None:
        set_masks(matrices, sparsity * cubic(done), criterion, norms)

    gradual = schedule == "cubic" and steps > 0
    set_share(0.0 if gradual else 1.0)
    if steps > 0:
        train_classifier(
            model,
            examples,
            distillation_loss(temperature, alpha),
            settings,
            scratch=scratch,
            stage="prune",
            progress=progress,
            after_step=_after_step(model, matrices, set_share, steps if gradual else 0),
        )
        set_share(1.0)  # After a schedule this changes nothing.
    _remove_buffers(model, matrices)
    save_model(model, load_tokenizer(model_folder), folder)


def _after_step(
    model: PreTrainedModel,
    matrices: Sequence[nn.Linear],
    set_share: Callable[[float], None],
    steps: int,
) -> Callable[[], None]:
    """Return a callback that re-applies the masks after each step and follows the schedule.

    If `steps` is 0, there is no schedule.
    """
    count = None
    if steps > 0:
        pruning_steps = max(1, round(SCHEDULE_SHARE * steps))
        count = on_schedule(model, pruning_steps, UPDATES, set_share)

    def after_step() -> None:
        hold_masks(matrices)
        if count is not None:
            count()

    return after_step


def _remove_buffers(model: PreTrainedModel, matrices: Sequence[nn.Linear]) -> None:
    """Remove the buffers that only training needs."""
    for matrix in matrices:
        del matrix.weight_mask
    if hasattr(model, "schedule_step"):
        del model.schedule_step
