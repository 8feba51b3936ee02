"""What a model cannot be cut to, by its config.json alone: before anything is loaded or trained."""

from collections.abc import Iterator

from lmopt.config.capability import layers_refusal, rank_refusal, width_refusal
from lmopt.config.recipe import Recipe
from lmopt.models.families.base import KINDS, ModelConfig
from lmopt.models.families.registry import FIELDS, embedding_width, family_of, no_width

# The fields of a recipe whose limits depend on the model.
LIMITED = ("layers", "hidden_size", "embedding_rank", *FIELDS.values())


def shape(config: ModelConfig) -> dict[str, int | None]:
    """`layers`, `hidden_size` and `heads` of a model by its config.json; None where it has none."""
    names = family_of(config.get("model_type")).names
    keys = {"layers": names.layers, "hidden_size": names.hidden_size, "heads": names.heads}
    return {name: config.get(key) for name, key in keys.items()}


def shape_refusal(config: ModelConfig, recipe: Recipe) -> str | None:
    """Why a model with this config.json cannot be cut so, beginning with the field; None if it can.

    What config.json leaves open is not refused.
    """
    reasons = (*_numbers(config, recipe), *_parts(config, recipe))
    return next((reason for reason in reasons if reason is not None), None)


def _numbers(config: ModelConfig, recipe: Recipe) -> Iterator[str | None]:
    """Numbers that are too large for the model, or do not divide it."""
    known = shape(config)
    layers, hidden, heads = (known[name] for name in ("layers", "hidden_size", "heads"))
    if layers and recipe.layers:
        yield layers_refusal(recipe.layers, layers)
    if hidden and heads and recipe.hidden_size is not None:
        yield width_refusal(recipe.hidden_size, hidden, heads)
    width = recipe.hidden_size or embedding_width(config)
    if width and recipe.embedding_rank is not None:
        yield rank_refusal(recipe.embedding_rank, width)


def _parts(config: ModelConfig, recipe: Recipe) -> Iterator[str | None]:
    """Parts that the family does not let go of."""
    if "model_type" not in config:
        return
    family = family_of(config["model_type"])
    if recipe.layers:
        yield _refused(config, "layers", recipe.layers, family.no_layers(config))
    if recipe.hidden_size is not None:
        yield _refused(config, "hidden_size", recipe.hidden_size, no_width(config))
    for kind in KINDS:
        keep: float = getattr(recipe, FIELDS[kind])
        if keep < 1:
            yield _refused(config, FIELDS[kind], keep, family.no_units(config, kind))


def _refused(config: ModelConfig, field: str, value: float, reason: str | None) -> str | None:
    if reason is None:
        return None
    return f"{field} must be left out for a {config['model_type']} model, got {value:g}: {reason}"
