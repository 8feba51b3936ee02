"""A narrower student: the hidden states of a fine-tuned model in fewer dimensions.

The residual stream is projected onto its first principal components. Heads and FFN neurons are cut
in proportion, and those with the largest norms stay. The result is a plain model of the family
with a smaller `hidden_size`. It is a starting point for distillation and not accurate yet.

Source: Ashkboos et al. (2024), SliceGPT, section 3 (rotation by principal components).
"""

from collections.abc import Mapping

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from lmopt.compression.unit_importance import magnitudes
from lmopt.data.batches import padded, subset
from lmopt.data.tokens import Tokens
from lmopt.errors import UserError
from lmopt.models.families.base import KINDS, Kind, keep_units
from lmopt.models.families.limits import width_refusal
from lmopt.models.families.registry import find_units, no_width
from lmopt.models.shape import ffn_field

TEXTS = 512
BATCH_SIZE = 32


@torch.inference_mode()
def hidden_components(model: PreTrainedModel, tokens: Tokens, width: int) -> torch.Tensor:
    """Return the first `width` principal directions (hidden, width) of all hidden states."""
    model.eval()
    moment = torch.zeros(model.config.hidden_size, model.config.hidden_size)
    chosen = subset(len(tokens), TEXTS, seed=0)
    for start in range(0, len(chosen), BATCH_SIZE):
        batch = padded([tokens[i] for i in chosen[start : start + BATCH_SIZE]], model)
        states = model.base_model(**batch, output_hidden_states=True).hidden_states
        for layer in states:
            rows = layer[batch["attention_mask"].bool()]  # (tokens, hidden)
            moment += rows.T @ rows
    vectors: torch.Tensor = torch.linalg.eigh(moment).eigenvectors  # Ascending.
    return vectors.flip(1)[:, :width].clone()


def narrow_width(model: PreTrainedModel, tokens: Tokens, width: int) -> PreTrainedModel:
    """Return a model of the same family with `hidden_size` = `width`, cut out of `model`.

    `model` is changed.

    Raises:
        UserError: The family cannot be cut, or the width is not a whole number of heads or not
            smaller.
    """
    config = model.config
    hidden, heads = config.hidden_size, config.num_attention_heads
    if reason := width_refusal(width, hidden, heads):
        raise UserError(reason)
    _check_family(model)
    directions = hidden_components(model, tokens, width)
    model.requires_grad_(False)
    counts: dict[Kind, int] = {}
    for kind in KINDS:
        for units in find_units(model, kind):
            counts[kind] = round(units.count * width / hidden)
            keep_units(units, magnitudes(units).topk(counts[kind]).indices.sort().values)
    small = _smaller(model, width, counts)
    small.load_state_dict(model.state_dict() | _rotated(model, hidden, directions))
    return small


def _check_family(model: PreTrainedModel) -> None:
    """Refuse a family whose hidden size cannot be cut.

    Raises:
        UserError: Other parts of the model depend on the hidden size.
    """
    if reason := no_width(model.config.to_dict()):
        raise UserError(
            f"the hidden size of this {model.config.model_type} model cannot be cut: {reason}; "
            "leave hidden_size out, or name a narrower checkpoint as student.model"
        )


def _smaller(model: PreTrainedModel, width: int, counts: Mapping[Kind, int]) -> PreTrainedModel:
    """Return a newly built model of the cut shape."""
    config = type(model.config).from_dict(model.config.to_dict())
    config.hidden_size, config.num_attention_heads = width, counts["heads"]
    setattr(config, ffn_field(config), counts["ffn"])
    small: PreTrainedModel = AutoModelForSequenceClassification.from_config(
        config, dtype=torch.float32
    )
    return small


def _rotated(
    model: PreTrainedModel, hidden: int, directions: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return the parameters that read or write the residual stream, in the new directions."""
    units = [u for kind in KINDS for u in find_units(model, kind)]
    inside = {linear for u in units for linear in u.inputs}  # They write to heads and neurons.
    within = {u.output for u in units}  # They read from heads and neurons.
    rotated = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and module.embedding_dim == hidden:
            rotated[f"{name}.weight"] = module.weight @ directions
        elif isinstance(module, nn.LayerNorm):
            # The gain acts per axis: a new axis has the weighted mean gain of the old axes in it.
            rotated[f"{name}.weight"] = module.weight @ directions.square()
            rotated[f"{name}.bias"] = module.bias @ directions
        elif isinstance(module, nn.Linear):
            weight: torch.Tensor = module.weight
            bias: torch.Tensor | None = module.bias
            if module not in within and weight.shape[1] == hidden:
                weight = weight @ directions
            if module not in inside and len(weight) == hidden:
                weight = directions.T @ weight
                bias = None if bias is None else bias @ directions
            rotated[f"{name}.weight"] = weight
            if bias is not None:
                rotated[f"{name}.bias"] = bias
    return rotated
