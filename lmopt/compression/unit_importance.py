"""Importance scores of FFN neurons and attention heads, and masks that disable them.

Gates multiply the input of a layer's output matrix by one factor per unit: 1 kept, 0 masked. The
gradient of a factor is, to first order, the change of the loss when the unit is removed.
"""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from lmopt.data.batches import Examples
from lmopt.models.families.base import Units
from lmopt.training.calibration import calibration_batches
from lmopt.training.device import has_bf16, pick_device
from lmopt.training.losses import LossFunction
from lmopt.training.trainer import TrainingSettings


class Gates:
    """The factors of all layers' units of one kind, with their scores.

    The score of a unit is the sum over examples of |d loss / d factor|. The derivative is
    activation x gradient, summed over the unit's positions. Mask and score are the buffers
    `unit_mask` and `unit_score` (units,) of the layer's output matrix, so a checkpoint holds them.

    Source: Michel et al. (2019), Are Sixteen Heads Really Better than One?, equation 2; Molchanov
    et al. (2019), Importance Estimation for Neural Network Pruning, section 3.1.
    """

    def __init__(self, units: Sequence[Units]) -> None:
        self.units = units
        self.opened: dict[nn.Module, torch.Tensor] = {}
        self.handles = []
        for layer in units:
            weight = layer.output.weight
            layer.output.register_buffer("unit_mask", weight.new_ones(layer.count))
            layer.output.register_buffer("unit_score", weight.new_zeros(layer.count))
            self.handles.append(layer.output.register_forward_pre_hook(self._multiply))

    def _multiply(self, output: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        (hidden,) = inputs  # (batch, length, in_features)
        gate = output.get_buffer("unit_mask")[None]  # (1 or batch, units)
        if torch.is_grad_enabled():
            if output not in self.opened:  # A shared layer (ALBERT) comes here several times.
                self.opened[output] = gate.expand(len(hidden), -1).clone().requires_grad_()
            gate = self.opened[output]
        factor = gate.to(hidden.dtype).repeat_interleave(hidden.shape[-1] // gate.shape[-1], dim=1)
        return (hidden * factor[:, None],)

    @torch.no_grad()
    def collect(self) -> None:
        """Add the gradients of one backward pass of a batch's mean loss to the scores."""
        for output, gate in self.opened.items():
            assert gate.grad is not None
            output.get_buffer("unit_score").add_(gate.grad.abs().sum(0), alpha=len(gate))
        self.opened.clear()

    def remove(self) -> list[torch.Tensor]:
        """Remove the gates from the model and return the indices of each layer's kept units."""
        kept = []
        for layer, handle in zip(self.units, self.handles, strict=True):
            kept.append(layer.output.get_buffer("unit_mask").nonzero().flatten())
            del layer.output.unit_mask, layer.output.unit_score
            handle.remove()
        return kept


def score_units(
    model: PreTrainedModel,
    gates: Sequence[Gates],
    examples: Examples,
    loss_function: LossFunction,
    settings: TrainingSettings,
) -> None:
    """Collect the scores of the calibration batches without training."""
    target = pick_device(settings.device)
    model.to(target).eval()
    if target.type == "cpu":
        model.set_attn_implementation("eager")  # Its backward is faster, as in training.
    for batch in calibration_batches(model, examples, settings):
        labels, teacher_logits = batch.pop("labels"), batch.pop("teacher_logits", None)
        with torch.autocast(target.type, torch.bfloat16, enabled=has_bf16(target)):
            logits = model(**batch).logits
        loss = loss_function(logits.float(), labels, teacher_logits)
        factors = [gate for each in gates for gate in each.opened.values()]
        loss.backward(inputs=factors)  # type: ignore[no-untyped-call]
        for each in gates:
            each.collect()
    model.to("cpu")


def magnitudes(units: Units) -> torch.Tensor:
    """Return the L2 norm of all weights of each unit (units,)."""
    shares = [linear.weight.reshape(units.count, -1) for linear in units.inputs]
    shares.append(units.output.weight.T.reshape(units.count, -1))
    squares = [share.detach().square().sum(1) for share in shares]
    return torch.stack(squares).sum(0).sqrt()
