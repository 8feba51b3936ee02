"""The limits of a model that its config.json states, before anything is loaded or trained."""

from typing import NamedTuple

from lmopt.models.families.base import ModelConfig
from lmopt.models.families.registry import family_of


class Shape(NamedTuple):
    """Encoder layers, width of the hidden states and attention heads; None where unknown."""

    layers: int | None
    hidden_size: int | None
    heads: int | None


def shape_of(config: ModelConfig) -> Shape:
    """Return the shape that a model's config.json states."""
    names = family_of(config.get("model_type")).names
    return Shape(config.get(names.layers), config.get(names.hidden_size), config.get(names.heads))


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


def rank_refusal(rank: int, width: int) -> str | None:
    """Return why embeddings of `width` have no factors of this rank; None if they have."""
    if 1 <= rank < width:
        return None
    return f"embedding_rank must be in [1, {width - 1}] for this model, got {rank}"


def part_refusal(config: ModelConfig, field: str, value: float, reason: str | None) -> str | None:
    """Return the line for a part that a family does not let go of; None without a reason."""
    if reason is None:
        return None
    return f"{field} must be left out for a {config['model_type']} model, got {value:g}: {reason}"
