"""Unstructured pruning: single weights of the encoder's matrices become zero.

The file keeps its size and the model its speed; what falls is the size of the compressed file
(`lmopt.runtimes.manifest.transfer_bytes`). Embeddings, pooler and head stay dense.
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
UPDATES = 16  # How often a gradual schedule prunes more.
SCHEDULE_SHARE = 2 / 3  # Of the recovery; then the mask stands and the rest adapts.
SparsityCriterion = Literal["magnitude", "global_magnitude", "wanda"]
SparsitySchedule = Literal["one_shot", "cubic"]


def smallest(score: torch.Tensor, share: float) -> torch.Tensor:
    """Boolean mask of the round(share x n) smallest of the n entries of each row (..., n)."""
    count = round(share * score.shape[-1])
    mask = torch.zeros_like(score, dtype=torch.bool)
    indices = score.topk(count, largest=False, sorted=False).indices
    return mask.scatter_(-1, indices, True)


def magnitude_mask(weight: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Boolean mask of the weights to keep: all but the round(sparsity x n) smallest magnitudes.

    Source: Han et al. (2015), Learning both Weights and Connections for Efficient Neural Networks.
    """
    return ~smallest(weight.detach().abs().flatten(), sparsity).view_as(weight)


def global_masks(weights: Sequence[torch.Tensor], sparsity: float) -> list[torch.Tensor]:
    """`magnitude_mask` with one threshold for all the matrices together."""
    together = magnitude_mask(torch.cat([weight.flatten() for weight in weights]), sparsity)
    parts = torch.split(together, [weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


def wanda_mask(weight: torch.Tensor, norm: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Boolean mask of the weights to keep: in each row all but the smallest |weight| x input norm.

    `weight` is (out, in), `norm` (in,) the L2 norm of each input feature over many tokens.

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
    """L2 norm of each input feature (in,) of each matrix, over the calibration batches' tokens."""
    model.to(pick_device(settings.device)).eval()
    squares = {matrix: torch.zeros_like(matrix.weight[0]) for matrix in matrices}
    tokens = torch.empty(0)  # (batch, length), of the batch that is passing

    def add(matrix: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        (hidden,) = inputs
        if hidden.shape[:2] == tokens.shape:  # Not so: DeBERTa's relative positions.
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
    """Choose which weights are zero: buffers `weight_mask`, which a checkpoint holds.

    A weight that is zero already stays so, being the smallest, if `sparsity` does not fall.
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
    """Zero the masked weights again, after an optimizer step moved them."""
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
    """Prune a saved classifier, recover it for `settings.epochs`, save it into `folder`.

    The schedule "cubic" prunes during recovery; without recovery there is one shot.
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
        set_share(1.0)  # A schedule has come there by itself: nothing changes.
    _remove_buffers(model, matrices)
    save_model(model, load_tokenizer(model_folder), folder)


def _after_step(
    model: PreTrainedModel,
    matrices: Sequence[nn.Linear],
    set_share: Callable[[float], None],
    steps: int,
) -> Callable[[], None]:
    """Hold the masks after each step, and prune more on the way to `steps` (0: no schedule)."""
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
    """What only training needed is not saved."""
    for matrix in matrices:
        del matrix.weight_mask
    if hasattr(model, "schedule_step"):
        del model.schedule_step
