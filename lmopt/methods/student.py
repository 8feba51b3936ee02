"""Student: fewer layers, narrower hidden states, static embeddings, or a checkpoint of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lmopt.config.base import Config
from lmopt.locations import fingerprint, resolve
from lmopt.methods.base import Context, Method, Names, Sentence, Texts, setting
from lmopt.models.families.limits import (
    layers_refusal,
    part_refusal,
    shape_of,
    width_refusal,
)
from lmopt.models.families.registry import family_of, no_width
from lmopt.stages.cache import Stage

if TYPE_CHECKING:
    from lmopt.methods.recipe import Recipe

VERSION = 2
_CHOICES = {
    "even": "evenly spaced, the last included",
    "first": "the first ones",
    "last": "the last ones",
    "importance": "those that change their input most",
}


class Fields(Config):
    """Recipe fields of the student."""

    base: Literal["teacher", "student"] = setting(
        "teacher", description="The student starts from the teacher or from student.model."
    )
    layers: int | None = setting(
        None,
        ge=0,
        header="lay",
        description="Encoder layers kept; 0: static embeddings. None: all.",
    )
    layer_choice: Literal["even", "first", "last", "importance"] = setting(
        "even", description="Which layers: importance keeps those that change their input most."
    )
    hidden_size: int | None = setting(
        None,
        ge=1,
        unit="units",
        header="width",
        description="Narrower hidden states, by principal components; None: as they are.",
    )
    static_width: int = setting(
        256,
        ge=1,
        unit="units",
        header="width",
        description="Length of a static embedding (layers 0).",
    )
    static_hidden: int = setting(
        256, ge=1, unit="units", description="Units in a static student's head."
    )


def _idle(recipe: "Recipe") -> set[str]:
    if recipe.layers == 0:
        return {"layer_choice", "hidden_size"}
    return {"static_width", "static_hidden"} | (
        {"layer_choice"} if recipe.layers is None else set()
    )


def _runs(recipe: "Recipe") -> bool:
    return recipe.layers is not None or recipe.hidden_size is not None


def _refusal(recipe: "Recipe", model: Mapping[str, Any]) -> str | None:
    if recipe.layers == 0:
        return None
    known, family = shape_of(model), family_of(model.get("model_type"))
    reasons = []
    if recipe.layers is not None:
        if known.layers:
            reasons.append(layers_refusal(recipe.layers, known.layers))
        if "model_type" in model:
            reason = family.no_layers(model)
            reasons.append(part_refusal(model, "layers", recipe.layers, reason))
    if recipe.hidden_size is not None:
        if known.hidden_size and known.heads:
            reasons.append(width_refusal(recipe.hidden_size, known.hidden_size, known.heads))
        if "model_type" in model:
            reason = no_width(model)
            reasons.append(part_refusal(model, "hidden_size", recipe.hidden_size, reason))
    return next((reason for reason in reasons if reason is not None), None)


def _apply(context: Context, recipe: "Recipe", model: Stage, texts: Texts) -> Stage:
    return cut(context, recipe, model, texts, context.checkpoint)


def cut(
    context: Context, recipe: "Recipe", model: Stage, texts: Texts, checkpoint: str | None = None
) -> Stage:
    """Return the untrained student: layers of `model`, or a checkpoint that gets a new head."""
    names = None if checkpoint is None else texts.data.label_names
    path = str(model.path) if checkpoint is None else resolve(checkpoint)
    shape: dict[str, Any] = {"layers": recipe.layers}
    if recipe.layers == 0:
        shape |= recipe.model_dump(include={"static_width", "static_hidden"})
    if recipe.layers:
        shape["choice"] = recipe.layer_choice
    if recipe.hidden_size is not None and recipe.layers != 0:
        shape["hidden_size"] = recipe.hidden_size
    reads = "hidden_size" in shape or shape.get("choice") == "importance"

    def build(folder: Path, _: Path) -> None:
        from lmopt.compression.student import build_student
        from lmopt.data.tokens import load_tokens

        options: dict[str, Any] = dict(shape)
        if reads:
            options["tokens"] = load_tokens(texts.tokens.path / "tokens.npz")["train"]
        build_student(path, names, seed=recipe.seed, folder=folder, **options)

    parameters = dict(shape)
    if checkpoint is not None:
        parameters |= {"content": fingerprint(path), "labels": names}
    if checkpoint is not None or recipe.layers == 0:  # A head is drawn at random.
        parameters["seed"] = recipe.seed
    parents = [model.key] if checkpoint is None else []
    parents += [texts.tokens.key] if reads else []
    return context.walk.stage("student", build, VERSION, parameters, parents)


def _setting(recipe: "Recipe") -> str:
    parts = [] if recipe.base == "teacher" else [f"from a {recipe.base}"]
    if recipe.layers is not None:
        parts.append({0: "static", 1: "1 layer"}.get(recipe.layers, f"{recipe.layers} layers"))
    if recipe.hidden_size is not None:
        parts.append(f"hidden {recipe.hidden_size}")
    return ", ".join(parts)


def _sentences(recipe: "Recipe", names: Names) -> list[Sentence]:
    fields = {"base", "layers", "layer_choice"}
    from_student = recipe.base == "student" and names.student is not None
    origin = (
        f"the checkpoint {names.student}"
        if from_student
        else f"the fine-tuned teacher {names.teacher}"
    )
    head = ", with a new head" if from_student else ""
    if recipe.layers == 0:
        fields |= {"static_width", "static_hidden"}
        start = (
            f"Started from static embeddings without encoder layers: one vector of "
            f"{recipe.static_width} numbers a token, made from {origin}, and a new head of "
            f"{recipe.static_hidden} units."
        )
    elif recipe.layers:
        choice = _CHOICES[recipe.layer_choice]
        start = (
            f"Started from {origin} with {recipe.layers} of its encoder layers ({choice}){head}."
        )
    else:
        start = f"Started from {origin}{head or ', all layers'}."
    said = [Sentence(start, frozenset(fields))]
    if recipe.hidden_size is not None:
        text = f"Hidden states narrowed to {recipe.hidden_size} by principal components."
        said.append(Sentence(text, frozenset({"hidden_size"})))
    return said


def _tags(recipe: "Recipe") -> list[str]:
    tags = [] if recipe.hidden_size is None else ["distillation"]
    return [*tags, "static-embeddings"] if recipe.layers == 0 else tags


METHOD = Method(
    name="student",
    title="distillation",
    fields=Fields,
    switches=("base", "layers", "hidden_size"),
    apply=_apply,
    phase="shape",
    runs=_runs,
    idle=_idle,
    refusal=_refusal,
    setting=_setting,
    sentences=_sentences,
    tags=_tags,
)
