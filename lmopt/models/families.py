"""Where each family of encoders keeps its FFN neurons and attention heads, and how some are kept.

One adapter a family. The attention modules read the number of heads from their matrices or from an
attribute of their own, never from the configuration, so layers may differ (transformers 5).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from lmopt.errors import UserError

Kind = Literal["ffn", "heads"]
# The names of BERT's modules, kept by those who copied it.
BERT_LIKE = {"bert", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert", "rembert"}
BERT_LIKE |= {"roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl"}
DEBERTA = {"deberta", "deberta-v2"}


@dataclass(frozen=True)
class Units:
    """The FFN neurons or attention heads of one layer.

    Unit i owns an equal share, in this order, of the rows of each of `inputs`, of each vector
    `vectors` of `owner`, and of the columns of `output`: `width` of these.
    """

    inputs: tuple[nn.Linear, ...]
    output: nn.Linear
    width: int
    owner: nn.Module | None = None
    vectors: tuple[str, ...] = ()
    after: Callable[[torch.Tensor], None] | None = None

    @property
    def count(self) -> int:
        """How many units there are."""
        return self.output.in_features // self.width


def find_units(model: PreTrainedModel, kind: Kind) -> list[Units]:
    """The neurons or heads of every layer; layers that share their weights (ALBERT) are one.

    Raises ValueError for a family without an adapter.
    """
    family, base = model.config.model_type, model.base_model
    if family in BERT_LIKE:
        return [_bert_like(layer, layer.attention.self, kind) for layer in base.encoder.layer]
    if family == "distilbert":
        return [_distilbert(layer, kind) for layer in base.transformer.layer]
    if family == "albert":
        groups = base.encoder.albert_layer_groups
        return [_albert(layer, kind) for group in groups for layer in group.albert_layers]
    if family == "mpnet":
        return [_mpnet(layer, kind) for layer in base.encoder.layer]
    if family in DEBERTA:
        return [_deberta(layer, kind) for layer in base.encoder.layer]
    raise UserError(
        f"no neurons or heads can be removed from {family} models, there is no adapter for them: "
        "leave ffn_keep and heads_keep out (every other pass works)"
    )


def _bert_like(layer: Any, attention: Any, kind: Kind) -> Units:
    if kind == "ffn":
        return Units((layer.intermediate.dense,), layer.output.dense, 1)
    inputs = (attention.query, attention.key, attention.value)
    return _heads(attention, inputs, layer.attention.output.dense)


def _distilbert(layer: Any, kind: Kind) -> Units:
    if kind == "ffn":
        return Units((layer.ffn.lin1,), layer.ffn.lin2, 1)
    attention = layer.attention
    return _heads(attention, (attention.q_lin, attention.k_lin, attention.v_lin), attention.out_lin)


def _albert(layer: Any, kind: Kind) -> Units:
    if kind == "ffn":
        return Units((layer.ffn,), layer.ffn_output, 1)
    attention = layer.attention
    return _heads(attention, (attention.query, attention.key, attention.value), attention.dense)


def _mpnet(layer: Any, kind: Kind) -> Units:
    if kind == "ffn":
        return Units((layer.intermediate.dense,), layer.output.dense, 1)
    attention = layer.attention.attn

    def after(kept: torch.Tensor) -> None:
        """The position bias has all heads and is shared by all layers: each takes its own."""
        if not hasattr(attention, "kept_heads"):
            attention.register_buffer("kept_heads", kept)  # Saved with the weights.
            attention.register_forward_pre_hook(_take_position_bias)
        else:
            attention.kept_heads = attention.kept_heads[kept]

    inputs = (attention.q, attention.k, attention.v)
    return _heads(attention, inputs, attention.o, after=after)


def _take_position_bias(attention: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    hidden_states, mask, position_bias, *rest = arguments
    return (hidden_states, mask, position_bias[:, attention.kept_heads], *rest)


def _deberta(layer: Any, kind: Kind) -> Units:
    if kind == "ffn":
        return Units((layer.intermediate.dense,), layer.output.dense, 1)
    attention = layer.attention.self
    if getattr(attention, "talking_head", False):
        raise UserError(
            "no heads can be removed from a DeBERTa with talking_head, which mixes them: "
            "leave heads_keep out (ffn_keep works)"
        )
    names = ["in_proj", "query_proj", "key_proj", "value_proj"]
    names += ["pos_proj", "pos_q_proj", "pos_key_proj", "pos_query_proj"]
    inputs = tuple(getattr(attention, name) for name in names if hasattr(attention, name))
    vectors = tuple(name for name in ("q_bias", "v_bias") if hasattr(attention, name))
    return _heads(attention, inputs, layer.attention.output.dense, vectors=vectors)


def _heads(
    attention: Any, inputs: tuple[nn.Linear, ...], output: nn.Linear, **options: Any
) -> Units:
    return Units(inputs, output, attention.attention_head_size, attention, **options)


@torch.no_grad()
def keep_units(units: Units, kept: torch.Tensor) -> None:
    """Remove all units of a layer but the indices `kept`, in place."""
    count = units.count
    for linear in units.inputs:
        _keep(linear, "weight", 0, count, kept)
        if linear.bias is not None:
            _keep(linear, "bias", 0, count, kept)
        linear.out_features = len(linear.weight)
    if units.owner is not None:
        for name in units.vectors:
            _keep(units.owner, name, 0, count, kept)
        for name, value in (
            ("num_attention_heads", len(kept)),
            ("n_heads", len(kept)),
            ("all_head_size", len(kept) * units.width),
        ):
            if hasattr(units.owner, name):
                setattr(units.owner, name, value)
    _keep(units.output, "weight", 1, count, kept)
    units.output.in_features = units.output.weight.shape[1]
    if units.after is not None:
        units.after(kept)


def _keep(module: nn.Module, name: str, dim: int, count: int, kept: torch.Tensor) -> None:
    """Keep the shares of the units `kept` of `count` along `dim` of a parameter."""
    old = getattr(module, name)
    shares = old.unflatten(dim, (count, -1)).index_select(dim, kept.to(old.device))
    new = shares.flatten(dim, dim + 1).contiguous()
    setattr(module, name, nn.Parameter(new, requires_grad=old.requires_grad))
