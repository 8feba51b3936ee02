"""Quantization: weights and activations in few bits, and training with the weights as stored."""

import math
from typing import TYPE_CHECKING, Any, Literal

from lmopt.config.base import Bits, Config
from lmopt.methods.base import Claim, Context, Method, Names, Search, Sentence, Texts, setting
from lmopt.methods.training import Training, epochs_in_words, training_stage
from lmopt.stages.cache import Stage

if TYPE_CHECKING:
    from lmopt.methods.recipe import Recipe

VERSION = 2


class Fields(Config):
    """Recipe fields of quantization."""

    bits: Bits = setting(32, header="bits", description="Bits of a stored weight.")
    embedding_bits: Literal[8, 4, 3, 2] | None = setting(
        None, header="emb", description="None: as bits."
    )
    number_format: Literal["int", "nf4"] = setting(
        "int", header="format", description="Of 4-bit weights."
    )
    activation_bits: Literal[8] | None = setting(
        None,
        header="act",
        description="Matrix products in 8-bit integers (bits 8); None: floating point.",
    )
    rounding: Literal["nearest", "scale_estimation", "awq", "gptq"] = setting(
        "nearest", description="Others look at training texts; linear layers below 8 bits."
    )
    finetune_epochs: float = setting(
        0, ge=0, description="Distillation with the weights as stored: bits < 16, or clusters."
    )
    finetune_learning_rate: float | None = setting(None, gt=0, description="None: as before.")


def _trains(recipe: "Recipe") -> bool:
    return recipe.bits < 16 or recipe.clusters is not None


def _idle(recipe: "Recipe") -> set[str]:
    idle = set()
    formats = {"embedding_bits", "number_format", "activation_bits", "rounding"}
    if recipe.clusters is not None:
        idle |= {"bits", *formats}
    if recipe.bits >= 16:
        idle |= formats
    if recipe.bits != 8:
        idle.add("activation_bits")
    if recipe.bits != 4 and recipe.embedding_bits != 4:
        idle.add("number_format")
    if recipe.embedding_bits == recipe.bits:
        idle.add("embedding_bits")
    if recipe.bits >= 8:
        idle.add("rounding")
    if not _trains(recipe):
        idle.add("finetune_epochs")
    if recipe.finetune_epochs == 0 or not _trains(recipe):
        idle.add("finetune_learning_rate")
    return idle


def _is_on(recipe: "Recipe") -> bool:
    stored = ("bits", "number_format", "embedding_bits", "activation_bits")
    return any(getattr(recipe, name) != METHOD.off(name) for name in stored)


def _apply(context: Context, recipe: "Recipe", model: Stage, texts: Texts) -> Stage:
    return train_stored(context, recipe, model, texts)


def train_stored(context: Context, recipe: "Recipe", model: Stage, texts: Texts) -> Stage:
    """Return the model trained with its weights as stored, and clustered if they share values."""

    def train(*arguments: Any, **keywords: Any) -> None:
        from lmopt.compression.stored_training import finetune_stored

        finetune_stored(*arguments, **keywords)

    storage = {"storage": dict(context.storage)}
    training = Training(
        "finetune",
        train,
        VERSION,
        epochs=recipe.finetune_epochs,
        options=storage,
        parameters=storage,
        learning_rate=recipe.finetune_learning_rate,
    )
    return training_stage(context.walk, training, recipe, model, texts)


def _setting(recipe: "Recipe") -> str:
    parts = [] if recipe.bits == 32 else [f"{recipe.bits} bits"]
    parts += [] if recipe.number_format == "int" else [recipe.number_format]
    parts += [] if recipe.embedding_bits is None else [f"embedding bits {recipe.embedding_bits}"]
    parts += [] if recipe.activation_bits is None else [f"activation bits {recipe.activation_bits}"]
    return ", ".join(parts)


def _sentences(recipe: "Recipe", names: Names) -> list[Sentence]:
    said = []
    if recipe.finetune_epochs:
        time = epochs_in_words(recipe.finetune_epochs)
        text = f"Trained for {time} with the weights as they are stored."
        said.append(Sentence(text, frozenset({"finetune_epochs"})))
    if recipe.clusters is not None:
        return said
    if recipe.bits == 32:
        return [*said, Sentence("Weights stored in 32 bits, not quantized.", frozenset())]
    own = recipe.embedding_bits
    text = f"Weights stored in {recipe.bits} bits, embeddings {f'in {own}' if own else 'included'}"
    if recipe.activation_bits is not None:
        width = recipe.activation_bits
        text += f"; matrix products in {width}-bit integers, calibrated on training text"
    fields = frozenset({"bits", "embedding_bits", "activation_bits"})
    return [*said, Sentence(f"{text}.", fields)]


def _claim(recipe: "Recipe", zeros: float) -> Claim:
    if recipe.clusters is not None:
        return Claim()
    if recipe.embedding_bits is not None:  # No row says how many weights have which width.
        return Claim(math.nan, math.nan)
    return Claim(recipe.bits / 32, recipe.bits / 32)


def _reference(untouched: dict[str, Any], search: Search) -> dict[str, Any]:
    return {**untouched, "bits": 8 if 8 in search.bits else 16}


METHOD = Method(
    name="quantization",
    title="quantization",
    fields=Fields,
    switches=(
        "bits",
        "embedding_bits",
        "number_format",
        "activation_bits",
        "rounding",
        "finetune_epochs",
    ),
    apply=_apply,
    phase="store",
    is_on=_is_on,
    runs=lambda recipe: recipe.finetune_epochs > 0 and recipe.clusters is None and recipe.bits < 16,
    idle=_idle,
    epochs="finetune_epochs",
    trains=_trains,
    leaves_shape=frozenset({"finetune_epochs"}),
    storage=lambda recipe: recipe.model_dump(include={"bits", "number_format", "embedding_bits"}),
    setting=_setting,
    sentences=_sentences,
    tags=lambda recipe: ["quantization"] if recipe.bits != 32 else [],
    claim=_claim,
    reference_name="quantization",
    reference=_reference,
)
