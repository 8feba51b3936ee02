"""Unstructured pruning: single weights of the encoder's matrices become zero."""

from typing import TYPE_CHECKING, Any, Literal

from lmopt.config.base import Config
from lmopt.methods.base import Claim, Context, Method, Names, Search, Sentence, Texts, setting
from lmopt.methods.training import Training, epochs_in_words, loss_in_words, training_stage
from lmopt.stages.cache import Stage

if TYPE_CHECKING:
    from lmopt.methods.recipe import Recipe

VERSION = 2
_CRITERIA = {
    "magnitude": "of each encoder matrix set to zero by magnitude",
    "global_magnitude": "of the encoder's weights set to zero by magnitude, all matrices together",
    "wanda": "of each encoder matrix set to zero by magnitude times input norm (Wanda)",
}


class Fields(Config):
    """Recipe fields of unstructured pruning."""

    sparsity: float = setting(
        0,
        ge=0,
        lt=1,
        unit="share",
        header="spar",
        description="Share of zero weights in encoder layers.",
    )
    sparsity_criterion: Literal["magnitude", "global_magnitude", "wanda"] = setting(
        "magnitude", description="Which weights become zero first."
    )
    sparsity_schedule: Literal["one_shot", "cubic"] = setting(
        "one_shot", description="cubic: more and more during recovery."
    )
    recovery_epochs: float = setting(0, ge=0, description="Training with the mask held.")


def _is_on(recipe: "Recipe") -> bool:
    return recipe.layers != 0 and recipe.sparsity > 0


def _idle(recipe: "Recipe") -> set[str]:
    idle = {"sparsity"} if recipe.layers == 0 else set()
    if not _is_on(recipe):
        return idle | {"sparsity_criterion", "sparsity_schedule", "recovery_epochs"}
    return {"sparsity_schedule"} if recipe.recovery_epochs == 0 else idle


def _apply(context: Context, recipe: "Recipe", model: Stage, texts: Texts) -> Stage:
    """Return the model with the recipe's share of zeros, recovered with the same loss."""

    def train(*arguments: Any, **keywords: Any) -> None:
        from lmopt.compression.sparsity import prune

        prune(*arguments, **keywords)

    options = {
        "sparsity": recipe.sparsity,
        "criterion": recipe.sparsity_criterion,
        "schedule": recipe.sparsity_schedule,
    }
    training = Training(
        "prune",
        train,
        VERSION,
        epochs=recipe.recovery_epochs,
        options=options,
        parameters=options,
        reads=recipe.sparsity_criterion == "wanda",
    )
    return training_stage(context.walk, training, recipe, model, texts)


def _sentences(recipe: "Recipe", names: Names) -> list[Sentence]:
    if not _is_on(recipe):
        return []
    recovery = recipe.recovery_epochs
    time = f", then recovered for {epochs_in_words(recovery)}{loss_in_words(recipe)}"
    share = f"{100 * recipe.sparsity:g} % {_CRITERIA[recipe.sparsity_criterion]}"
    fields = frozenset({"sparsity", "sparsity_criterion", "recovery_epochs"})
    return [Sentence(f"Pruned: {share}{time if recovery else ''}.", fields)]


def _claim(recipe: "Recipe", zeros: float) -> Claim:
    # The recipe prunes the encoder layers; the share of zeros among all weights is smaller.
    return Claim(1 - zeros, 1 - recipe.sparsity) if recipe.sparsity > 0 else Claim()


def _reference(untouched: dict[str, Any], search: Search) -> dict[str, Any] | None:
    if {"ffn_keep", "heads_keep"} & search.middle.keys():
        return None
    return {**untouched, "sparsity": 0.5, "alpha": 0.0}


METHOD = Method(
    name="sparsity",
    title="unstructured pruning",
    fields=Fields,
    switches=("sparsity",),
    apply=_apply,
    phase="train",
    is_on=_is_on,
    idle=_idle,
    epochs="recovery_epochs",
    trains=_is_on,
    leaves_shape=frozenset({"recovery_epochs", "sparsity"}),
    setting=lambda recipe: f"sparsity {recipe.sparsity:g}" if recipe.sparsity else "",
    sentences=_sentences,
    reference_name="pruning",
    reference=_reference,
    tags=lambda recipe: ["pruning"] if _is_on(recipe) else [],
    claim=_claim,
)
