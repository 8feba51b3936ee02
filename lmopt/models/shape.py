"""The shape of a model that its own configuration cannot say: recorded, and replayed on reload.

`config.json` then has an entry `lmopt_shape`, such as {"ffn": [384, 256], "heads": [6, 9]}, one
number a layer. `load_classifier` builds a model, reshapes it, and loads the weights.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from lmopt.errors import UserError
from lmopt.models.embeddings import add_factorization
from lmopt.models.families.base import Entry, Kind, keep_units
from lmopt.models.families.registry import family_of, find_units
from lmopt.models.static import StaticConfig

SHAPE = "lmopt_shape"


def _resize_neurons(model: PreTrainedModel, counts: Sequence[int]) -> None:
    resize_units(model, "ffn", counts)


def _resize_heads(model: PreTrainedModel, counts: Sequence[int]) -> None:
    resize_units(model, "heads", counts)


_ENTRIES = {
    "ffn": Entry(_resize_neurons, "FFNs of different widths"),
    "heads": Entry(_resize_heads, "removed attention heads"),
    "embedding_rank": Entry(add_factorization, "factorised word embeddings"),
}


def entries_of(model_type: str) -> dict[str, Entry]:
    """The entries that a model of this type may have."""
    return _ENTRIES | dict(family_of(model_type).entries)


def reshape(model: PreTrainedModel, shape: Mapping[str, Any]) -> None:
    """Give a freshly built model the shape that was recorded, in place; weights are loaded later.

    Raises:
        ValueError: The shape has a key that this version does not know.
    """
    entries = entries_of(model.config.model_type)
    for key, value in shape.items():
        if key not in entries:
            raise UserError(f"{SHAPE} has an entry {key!r} that this version of lmopt cannot read")
        entries[key].apply(model, value)


def reshaped(kind: type[PreTrainedModel], shape: Mapping[str, Any]) -> type[PreTrainedModel]:
    """A class like `kind`; its models have `shape` before `from_pretrained` loads weights."""

    def build(self: PreTrainedModel, config: Any) -> None:
        kind.__init__(self, config)
        reshape(self, shape)

    return type(kind.__name__, (kind,), {"__init__": build, "__module__": kind.__module__})


def recorded_shape(config: Any) -> dict[str, Any]:
    """The entry of a configuration; empty if it needs none."""
    return dict(getattr(config, SHAPE, None) or {})


def record_shape(config: Any, **entries: Any) -> None:
    """Set entries of a configuration's shape; None removes one."""
    shape = {k: v for k, v in (recorded_shape(config) | entries).items() if v is not None}
    if shape:
        setattr(config, SHAPE, shape)
    elif hasattr(config, SHAPE):
        delattr(config, SHAPE)


def resize_units(model: PreTrainedModel, kind: Kind, counts: Sequence[int]) -> None:
    """Give each layer so many neurons or heads; which ones does not matter before loading."""
    for units, count in zip(find_units(model, kind), counts, strict=True):
        keep_units(units, torch.arange(count))


def record_units(model: PreTrainedModel, kind: Kind) -> None:
    """Record how many neurons or heads each layer has.

    Equal FFN widths go where transformers itself reads them, so that the model loads anywhere.
    """
    counts = [units.count for units in find_units(model, kind)]
    field = ffn_field(model.config)
    if kind == "ffn" and len(set(counts)) == 1:
        setattr(model.config, field, counts[0])
    original = getattr(model.config, "num_attention_heads" if kind == "heads" else field)
    record_shape(model.config, **{kind: None if set(counts) == {original} else counts})


def ffn_field(config: Any) -> str:
    """The name of a configuration's number of FFN neurons."""
    return family_of(config.model_type).names.ffn


def select_layers(config: Any, count: int, indices: Sequence[int]) -> None:
    """Keep the entries of these of `count` layers, for a model whose other layers were dropped."""
    for key, value in recorded_shape(config).items():
        if isinstance(value, list) and len(value) == count:
            record_shape(config, **{key: [value[i] for i in indices]})


def only_ours(folder: Path) -> str | None:
    """Why `from_pretrained` cannot load a model or torch artifact without lmopt; None if it can."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] == StaticConfig.model_type:
        return "it has no class for static embeddings"
    entries = entries_of(config["model_type"])
    found = [entries[name].words for name in config.get(SHAPE) or {}]
    return f"it has no setting for {', '.join(found)}" if found else None
