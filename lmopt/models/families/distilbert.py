"""DistilBERT: BERT's layers under other names, in the modules and in config.json."""

from typing import Any

from lmopt.models.families.base import Family, Kind, Names, Units, heads, neurons


def _layers(model: Any) -> Any:
    return model.base_model.transformer.layer


def _units(model: Any, kind: Kind) -> list[Units]:
    return [_of_layer(layer, kind) for layer in _layers(model)]


def _of_layer(layer: Any, kind: Kind) -> Units:
    if kind == "ffn":
        return neurons(layer.ffn.lin1, layer.ffn.lin2)
    attention = layer.attention
    inputs = (attention.q_lin, attention.k_lin, attention.v_lin)
    return heads(attention, inputs, attention.out_lin)


DISTILBERT = Family(
    model_types=("distilbert",),
    layers=_layers,
    units=_units,
    names=Names("n_layers", "dim", "n_heads", "hidden_dim"),
    embedding_names=("dim",),
)
