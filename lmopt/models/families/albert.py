"""ALBERT: layers in groups that share their weights; one group is run once for each layer."""

from typing import Any

from lmopt.models.families.base import Family, Kind, ModelConfig, Units, heads, neurons


def _layers(model: Any) -> Any:
    return model.base_model.encoder.albert_layer_groups


def _units(model: Any, kind: Kind) -> list[Units]:
    return [_of_layer(layer, kind) for group in _layers(model) for layer in group.albert_layers]


def _of_layer(layer: Any, kind: Kind) -> Units:
    if kind == "ffn":
        return neurons(layer.ffn, layer.ffn_output)
    attention = layer.attention
    return heads(attention, (attention.query, attention.key, attention.value), attention.dense)


def _no_layers(config: ModelConfig) -> str | None:
    """Of one group, one layer is run fewer times."""
    groups = config.get("num_hidden_groups", 1)
    return None if groups == 1 else f"its layers share {groups} groups of weights"


ALBERT = Family(model_types=("albert",), layers=_layers, units=_units, no_layers=_no_layers)
