"""DeBERTa and DeBERTa-v2/v3: attention between contents and relative positions."""

from typing import Any

from lmopt.models.families.base import Family, Kind, ModelConfig, Units, heads, neurons

# The two versions, and the settings of each, have some of these.
MATRICES = (
    "in_proj",
    "query_proj",
    "key_proj",
    "value_proj",
    "pos_proj",
    "pos_q_proj",
    "pos_key_proj",
    "pos_query_proj",
)
VECTORS = ("q_bias", "v_bias")


def _layers(model: Any) -> Any:
    return model.base_model.encoder.layer


def _units(model: Any, kind: Kind) -> list[Units]:
    return [_of_layer(layer, kind) for layer in _layers(model)]


def _of_layer(layer: Any, kind: Kind) -> Units:
    if kind == "ffn":
        return neurons(layer.intermediate.dense, layer.output.dense)
    attention = layer.attention.self
    inputs = [getattr(attention, name) for name in MATRICES if hasattr(attention, name)]
    vectors = tuple(name for name in VECTORS if hasattr(attention, name))
    return heads(attention, inputs, layer.attention.output.dense, vectors=vectors)


def _no_units(config: ModelConfig, kind: Kind) -> str | None:
    """The first version has an option that mixes what the heads attend to."""
    mixes = config.get("model_type") == "deberta" and config.get("talking_head", False)
    return "its talking_head mixes the heads" if mixes and kind == "heads" else None


DEBERTA = Family(
    model_types=("deberta", "deberta-v2"), layers=_layers, units=_units, no_units=_no_units
)
