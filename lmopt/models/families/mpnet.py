"""MPNet: BERT's layers, and one table of relative positions with a bias for each head."""

from typing import Any

from lmopt.models.families.base import Family, Kind, ModelConfig, Units, heads, neurons


def _layers(model: Any) -> Any:
    return model.base_model.encoder.layer


def _units(model: Any, kind: Kind) -> list[Units]:
    return [_of_layer(layer, kind) for layer in _layers(model)]


def _of_layer(layer: Any, kind: Kind) -> Units:
    if kind == "ffn":
        return neurons(layer.intermediate.dense, layer.output.dense)
    attention = layer.attention.attn

    def after(kept: Any) -> None:
        """The position bias has all heads and is shared by all layers: each takes its own."""
        if not hasattr(attention, "kept_heads"):
            attention.register_buffer("kept_heads", kept)  # Saved with the weights.
            attention.register_forward_pre_hook(_take_position_bias)
        else:
            attention.kept_heads = attention.kept_heads[kept]

    inputs = (attention.q, attention.k, attention.v)
    return heads(attention, inputs, attention.o, after=after)


def _take_position_bias(attention: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    hidden_states, mask, position_bias, *rest = arguments
    return (hidden_states, mask, position_bias[:, attention.kept_heads], *rest)


def _first_position(config: ModelConfig) -> int:
    """MPNet takes 1 for the padding's id, whatever config.json says."""
    return 2


def _no_width(config: ModelConfig) -> str:
    return "its position bias has a column for each head, and fewer heads would stay"


MPNET = Family(
    model_types=("mpnet",),
    layers=_layers,
    units=_units,
    first_position=_first_position,
    no_width=_no_width,
)
