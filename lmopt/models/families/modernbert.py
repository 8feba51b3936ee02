"""ModernBERT: norms before attention, gated feed-forward networks, rotary positions."""

from typing import Any

from lmopt.models.families.base import Family, HeadReads, Kind, ModelConfig, Units


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


MODERNBERT = Family(
    model_types=("modernbert",),
    layers=_layers,
    units=_units,
    head_reads=_head_reads,
    no_units=_no_units,
    no_width=_no_width,
)
