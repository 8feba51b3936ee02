"""The shape of a model as its config.json says it, and the cuts that this shape allows."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Shape(NamedTuple):
    """Encoder layers, width of the hidden states and attention heads; None where unknown."""

    layers: int | None
    hidden_size: int | None
    heads: int | None


def shape_of(config: Mapping[str, Any]) -> Shape:
    """Return the shape that a model's config.json states."""
    names = (
        ("num_hidden_layers", "n_layers"),
        ("hidden_size", "dim"),
        ("num_attention_heads", "n_heads"),
    )
    return Shape(*(next((config[key] for key in keys if key in config), None) for keys in names))


def layers_refusal(keep: int, layers: int) -> str | None:
    """Return why `keep` of `layers` encoder layers cannot be kept; None if they can."""
    if 1 <= keep <= layers:
        return None
    return f"layers must be in [1, {layers}] for this model, got {keep}"


def width_refusal(width: int, hidden_size: int, heads: int) -> str | None:
    """Return why a model cannot be cut to `width`, which must hold whole heads; None if it can."""
    head = hidden_size // heads
    if width < hidden_size and width % head == 0:
        return None
    return (
        f"hidden_size must be a multiple of {head} (the width of a head) below {hidden_size} for "
        f"this model, or null for as it is, got {width}"
    )
