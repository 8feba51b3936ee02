"""BERT, and the families that copied the names of its modules."""

from typing import Any

from lmopt.models.families.base import Family, Kind, ModelConfig, Units, heads, neurons

# Families whose positions begin after the padding's id.
OFFSET_POSITIONS = {
    "camembert",
    "data2vec-text",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
}


def _layers(model: Any) -> Any:
    return model.base_model.encoder.layer


def _units(model: Any, kind: Kind) -> list[Units]:
    return [_of_layer(layer, kind) for layer in _layers(model)]


def _of_layer(layer: Any, kind: Kind) -> Units:
    if kind == "ffn":
        return neurons(layer.intermediate.dense, layer.output.dense)
    attention = layer.attention.self
    inputs = (attention.query, attention.key, attention.value)
    return heads(attention, inputs, layer.attention.output.dense)


def offset_position(config: ModelConfig) -> int:
    """The first position of families that begin after the padding's id."""
    return int(config["pad_token_id"]) + 1


def _first_position(config: ModelConfig) -> int:
    return offset_position(config) if config["model_type"] in OFFSET_POSITIONS else 0


BERT = Family(
    model_types=(
        "bert",
        "camembert",
        "data2vec-text",
        "electra",
        "ernie",
        "megatron-bert",
        "rembert",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
    ),
    layers=_layers,
    units=_units,
    embedding_names=("input_embedding_size", "embedding_size", "hidden_size"),  # RemBERT, ELECTRA.
    first_position=_first_position,
)
