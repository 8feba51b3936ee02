"""Structured pruning: FFN neurons and attention heads are removed, least important first."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from lmopt.config.base import Config
from lmopt.methods.base import Context, Method, Names, Search, Sentence, Texts, setting
from lmopt.methods.training import Training, epochs_in_words, loss_in_words, training_stage
from lmopt.models.families.base import KINDS
from lmopt.models.families.limits import part_refusal
from lmopt.models.families.registry import FIELDS, family_of
from lmopt.stages.cache import Stage

if TYPE_CHECKING:
    from lmopt.methods.recipe import Recipe

VERSION = 1


class Fields(Config):
    """Recipe fields of structured pruning."""

    ffn_keep: float = setting(
        1,
        gt=0,
        le=1,
        unit="share",
        header="FFN",
        label="FFN kept",
        description="Share of the FFN neurons that stay.",
    )
    heads_keep: float = setting(
        1,
        gt=0,
        le=1,
        unit="share",
        header="heads",
        label="heads kept",
        description="Share of the attention heads that stay.",
    )
    structure_criterion: Literal["taylor", "magnitude"] = setting(
        "taylor", description="How the importance of neurons and heads is measured."
    )
    structure_scope: Literal["global", "layer"] = setting(
        "global", description="Neurons and heads compete in the whole model, or in their layer."
    )
    structure_epochs: float = setting(
        0, ge=0, description="Training while neurons and heads go, half of it after; 0: at once."
    )


def _is_on(recipe: "Recipe") -> bool:
    return recipe.layers != 0 and (recipe.ffn_keep < 1 or recipe.heads_keep < 1)


def _idle(recipe: "Recipe") -> set[str]:
    idle = (
        set() if _is_on(recipe) else {"structure_criterion", "structure_scope", "structure_epochs"}
    )
    return idle | {"ffn_keep", "heads_keep"} if recipe.layers == 0 else idle


def _refusal(recipe: "Recipe", model: Mapping[str, Any]) -> str | None:
    if "model_type" not in model or not _is_on(recipe):
        return None
    family = family_of(model["model_type"])
    for kind in KINDS:
        keep: float = getattr(recipe, FIELDS[kind])
        reason = family.no_units(model, kind) if keep < 1 else None
        if reason is not None:
            return part_refusal(model, FIELDS[kind], keep, reason)
    return None


def _apply(context: Context, recipe: "Recipe", model: Stage, texts: Texts) -> Stage:
    """Return the model with fewer neurons and heads, removed while it trains."""

    def train(*arguments: Any, **keywords: Any) -> None:
        from lmopt.compression.structured_pruning import prune_structure

        prune_structure(*arguments, **keywords)

    options = {
        "ffn_keep": recipe.ffn_keep,
        "heads_keep": recipe.heads_keep,
        "criterion": recipe.structure_criterion,
        "scope": recipe.structure_scope,
    }
    training = Training(
        "structure",
        train,
        VERSION,
        epochs=recipe.structure_epochs,
        options=options,
        parameters=options,
        reads=recipe.structure_criterion == "taylor",
    )
    return training_stage(context.walk, training, recipe, model, texts)


def _setting(recipe: "Recipe") -> str:
    kept = {"FFN": recipe.ffn_keep, "heads": recipe.heads_keep}
    return ", ".join(f"{name} {share:g}" for name, share in kept.items() if share != 1)


def _sentences(recipe: "Recipe", names: Names) -> list[Sentence]:
    if not _is_on(recipe):
        return []
    kept = f"{100 * recipe.ffn_keep:g} % of the FFN neurons, {100 * recipe.heads_keep:g} %"
    epochs = recipe.structure_epochs
    how = (
        f"in training for {epochs_in_words(epochs)}{loss_in_words(recipe)}" if epochs else "at once"
    )
    fields = frozenset({"ffn_keep", "heads_keep", "structure_epochs"})
    return [Sentence(f"Pruned to {kept} of the attention heads, {how}.", fields)]


def _reference(untouched: dict[str, Any], search: Search) -> dict[str, Any] | None:
    if not {"ffn_keep", "heads_keep"} & search.middle.keys():
        return None
    return {**untouched, "ffn_keep": 0.5, "structure_epochs": 1}


METHOD = Method(
    name="structured_pruning",
    title="structured pruning",
    fields=Fields,
    switches=("ffn_keep", "heads_keep", "structure_epochs"),
    apply=_apply,
    phase="train",
    is_on=_is_on,
    idle=_idle,
    epochs="structure_epochs",
    trains=_is_on,
    refusal=_refusal,
    leaves_shape=frozenset({"structure_epochs", "structure_criterion"}),
    setting=_setting,
    sentences=_sentences,
    reference_name="pruning",
    reference=_reference,
    tags=lambda recipe: ["pruning"] if _is_on(recipe) else [],
)
