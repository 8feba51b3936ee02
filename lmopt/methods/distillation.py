"""Distillation: a student learns from its teacher's logits, hidden states and attention.

Source: Hinton, Vinyals, Dean (2015), Distilling the Knowledge in a Neural Network.
"""

from typing import TYPE_CHECKING, Any

from lmopt.config.base import Config
from lmopt.methods import student
from lmopt.methods.base import Context, Method, Names, Search, Sentence, Texts, setting
from lmopt.methods.training import Training, epochs_in_words, loss_in_words, training_stage
from lmopt.stages.cache import Stage

if TYPE_CHECKING:
    from lmopt.methods.recipe import Recipe

VERSION = 2


class Fields(Config):
    """Recipe fields of distillation; the shared ones are in `lmopt.methods.training`."""

    epochs: float = setting(0, ge=0, description="Distillation; 0: none.")
    hidden_weight: float = setting(0, ge=0, description="Of the loss between hidden states.")
    attention_weight: float = setting(0, ge=0, description="Of the loss between attentions.")
    assistant_layers: int | None = setting(
        None, ge=1, description="A distilled model of so many layers teaches the student; None: no."
    )


def _idle(recipe: "Recipe") -> set[str]:
    idle = set()
    if recipe.layers == 0 or recipe.epochs == 0:
        idle |= {"hidden_weight", "attention_weight", "assistant_layers"}
    if recipe.alpha == 0:
        idle.add("assistant_layers")
    return idle


def _apply(context: Context, recipe: "Recipe", model: Stage, texts: Texts) -> Stage:
    """Return the student trained on the teacher's logits (`alpha` 0: on the labels alone)."""
    if recipe.assistant_layers is not None:
        texts = _taught_by_assistant(context, recipe, texts)
    return _distill(context, recipe, model, texts)


def _distill(context: Context, recipe: "Recipe", model: Stage, texts: Texts) -> Stage:
    def train(*arguments: Any, **keywords: Any) -> None:
        from lmopt.compression.distillation import distill

        distill(*arguments, **keywords)

    teacher = context.teacher
    weights = {"hidden_weight": recipe.hidden_weight, "attention_weight": recipe.attention_weight}
    looks = any(weights.values())
    training = Training(
        "distill",
        train,
        VERSION,
        epochs=recipe.epochs,
        options=weights | {"teacher": teacher.path} if looks else {},
        parameters=weights | {"teacher": teacher.key} if looks else {},
    )
    return training_stage(context.walk, training, recipe, model, texts)


def _taught_by_assistant(context: Context, recipe: "Recipe", texts: Texts) -> Texts:
    """Return the texts with the logits of a distilled student of `assistant_layers` layers.

    Source: Mirzadeh et al. (2020), Improved Knowledge Distillation via Teacher Assistant.
    """
    between = recipe.model_copy(update={"layers": recipe.assistant_layers, "hidden_size": None})
    assistant = student.cut(context, between, context.whole, texts)
    assistant = _distill(context, between, assistant, texts)
    extra = texts.extra if recipe.unlabelled_examples > 0 else None
    taught = context.label(assistant, texts)
    return taught._replace(extra=context.label(assistant, extra) if extra else None)


def _sentences(recipe: "Recipe", names: Names) -> list[Sentence]:
    if not recipe.epochs:
        return []
    text = f"Distilled for {epochs_in_words(recipe.epochs)}{loss_in_words(recipe)}."
    return [Sentence(text, frozenset({"epochs"}))]


def _reference(untouched: dict[str, Any], search: Search) -> dict[str, Any]:
    """Return the sweep's own distillation of a student of middle size, without other methods."""
    taught = {"base", "pretrain_epochs", *METHOD.switches}
    alone = {name: value for name, value in untouched.items() if name not in taught}
    return alone | {name: search.middle[name] for name in ("layers",) if name in search.middle}


METHOD = Method(
    name="distillation",
    title="distillation",
    fields=Fields,
    switches=("epochs", "hidden_weight", "attention_weight", "assistant_layers"),
    apply=_apply,
    phase="train",
    is_on=lambda recipe: recipe.epochs > 0,
    idle=_idle,
    epochs="epochs",
    leaves_shape=frozenset({"epochs"}),
    sentences=_sentences,
    reference_name="distillation",
    reference=_reference,
    tags=lambda recipe: ["distillation"] if recipe.epochs > 0 else [],
)
