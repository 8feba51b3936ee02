"""ModernBERT: norms before attention, gated feed-forward networks, rotary positions.

The first layer of a model that transformers builds has no norm before its attention, since the
embeddings end in one. A student whose first layer was another one of its teacher's needs that norm:
the entry `first_norm` of `lmopt_shape` says that it is there.
"""

from typing import Any

from lmopt.models.families.base import Entry, Family, HeadReads, Kind, ModelConfig, Units


def _layers(model: Any) -> Any:
    return model.base_model.layers


def _units(model: Any, kind: Kind) -> list[Units]:
    raise AssertionError("`no_units` refuses both kinds")


def _no_units(config: ModelConfig, kind: Kind) -> str:
    part = "its feed-forward networks are gated" if kind == "ffn" else "its heads share one matrix"
    return f"{part}, which lmopt cannot cut yet"


def _no_width(config: ModelConfig) -> str:
    return "its neurons and heads cannot be cut yet"


def _head_reads(config: ModelConfig) -> HeadReads:
    return "mean" if config.get("classifier_pooling") == "mean" else "first"


def _add_first_norm(model: Any, present: bool) -> None:
    """Give the first layer the norm that all others have; its weights are loaded later."""
    from torch import nn

    config, first = model.config, _layers(model)[0]
    if present:
        first.attn_norm = nn.LayerNorm(config.hidden_size, config.norm_eps, bias=config.norm_bias)


def _layer_entries(model: Any) -> dict[str, Any]:
    from torch import nn

    bare = isinstance(_layers(model)[0].attn_norm, nn.Identity)
    return {"first_norm": None if bare else True}


MODERNBERT = Family(
    model_types=("modernbert",),
    layers=_layers,
    units=_units,
    head_reads=_head_reads,
    layer_lists=("layer_types",),
    no_units=_no_units,
    no_width=_no_width,
    entries={"first_norm": Entry(_add_first_norm, "a norm in the first layer")},
    layer_entries=_layer_entries,
)
