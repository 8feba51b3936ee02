"""The training that methods share: its recipe fields, its examples and its stage."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lmopt.config.base import Config
from lmopt.methods.base import Method, Names, Sentence, Texts, setting
from lmopt.stages.cache import Stage
from lmopt.stages.context import Walk

if TYPE_CHECKING:
    from lmopt.data.batches import Examples
    from lmopt.methods.recipe import Recipe
    from lmopt.training.trainer import TrainingSettings

# Single weights are pruned last, or before distillation alone, which holds the zeros: neurons and
# heads that are cut later would take zeros with them.
Order = Literal[
    "distill,structure,sparsify",
    "structure,distill,sparsify",
    "structure,sparsify,distill",
]
ORDERED = {"distill": "distillation", "structure": "structured_pruning", "sparsify": "sparsity"}
"""Word of `order` -> name of the method."""


class Fields(Config):
    """Recipe fields of every training stage."""

    temperature: float = setting(2.0, gt=0, header="T", description="Softens the soft loss.")
    alpha: float = setting(
        0.5,
        ge=0,
        le=1,
        unit="share",
        header="α",
        description="Weight of the soft (distillation) loss.",
    )
    learning_rate: float = setting(1e-4, gt=0, header="lr")
    static_learning_rate: float = setting(
        3e-3, gt=0, description="In place of learning_rate for layers 0."
    )
    batch_size: int = setting(32, ge=1, unit="examples")
    train_examples: int | None = setting(
        None, ge=1, header="examples", description="At most so many; None: all."
    )
    unlabelled_examples: int = setting(
        0, ge=0, description="At most so many extra texts, of task.unlabelled and task.rechunk."
    )
    freeze_embeddings: bool = setting(
        False, description="Faster; word embeddings keep their values."
    )
    dropout: float | None = setting(
        None, ge=0, lt=1, unit="share", description="None: the model's own."
    )
    token_dropout: float = setting(
        0,
        ge=0,
        lt=1,
        unit="share",
        header="tok drop",
        description="Share of the tokens that a text is trained without, at random.",
    )
    order: Order = setting(
        "distill,structure,sparsify", description="Which of these is done first."
    )
    seed: int = setting(0, ge=0, description="Seed of training and of everything drawn at random.")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", description="Device of training.")


def _idle(recipe: "Recipe") -> set[str]:
    idle = {"device", "learning_rate" if recipe.layers == 0 else "static_learning_rate"}
    on = [method for method in recipe.methods if method.name in ORDERED.values()]
    if sum(method.is_used(recipe) for method in on) < 2:
        idle.add("order")
    if not any(method.is_trained(recipe) for method in recipe.methods):
        idle |= set(Fields.model_fields) - {"order", "seed"}
        if recipe.base == "teacher" and recipe.layers != 0:  # No new head is drawn by seed.
            idle.add("seed")
    if recipe.alpha == 0:
        idle |= {"temperature", "unlabelled_examples"}
    return idle


def _sentences(recipe: "Recipe", names: Names) -> list[Sentence]:
    if not any(method.is_trained(recipe) for method in recipe.methods):
        return []
    given = recipe.model_dump(exclude_defaults=True)
    rate = "static_learning_rate" if recipe.layers == 0 else "learning_rate"
    shown = ("train_examples", "batch_size", rate, "dropout", "freeze_embeddings")
    settings = [f"{name.replace('_', ' ')} {given[name]}" for name in shown if name in given]
    fields = frozenset({*shown, "seed", "temperature", "alpha"})
    if settings:
        return [Sentence(f"Training: {', '.join(settings)}, seed {recipe.seed}.", fields)]
    return [Sentence(f"Training seed {recipe.seed}.", fields)]


METHOD = Method(
    name="training",
    fields=Fields,
    idle=_idle,
    is_on=lambda recipe: False,
    leaves_shape=frozenset(Fields.model_fields) - {"order", "seed", "device"},
    sentences=_sentences,
    tags=lambda recipe: [],
)


@dataclass(frozen=True)
class Training:
    """A stage that may train.

    Attributes:
        name: Name of the stage.
        train: Trains a saved model and saves it, as `lmopt.compression.distillation.distill`.
        version: Version of the stage's code.
        epochs: Epochs of training; 0 trains nothing.
        options: Further arguments of `train`.
        parameters: What the stage's key depends on beside the training's settings.
        learning_rate: In place of the recipe's; None keeps the recipe's.
        reads: Whether the stage reads the training texts even without training.
    """

    name: str
    train: Callable[..., None]
    version: int
    epochs: float
    options: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    learning_rate: float | None = None
    reads: bool = False


def training_stage(
    walk: Walk, training: Training, recipe: "Recipe", model: Stage, texts: Texts
) -> Stage:
    """Run a stage that may train; its key depends on texts and settings only if it reads them."""
    settings = training_settings(recipe, training.epochs, walk.device)
    if training.learning_rate is not None:
        settings = replace(settings, learning_rate=training.learning_rate)

    def build(folder: Path, scratch: Path) -> None:
        training.train(
            model.path,
            training_examples(texts, recipe),
            settings,
            temperature=recipe.temperature,
            alpha=recipe.alpha,
            folder=folder,
            scratch=scratch,
            progress=walk.progress,
            **training.options,
        )

    parents, parameters = [model.key], training.parameters
    if training.epochs > 0 or training.reads:
        parameters = parameters | training_parameters(recipe, settings)
        parents += text_keys(texts, recipe.alpha > 0)
        if recipe.unlabelled_examples > 0 and texts.extra is not None:
            parents += text_keys(texts.extra, True)
    return walk.stage(training.name, build, training.version, parameters, parents)


def text_keys(texts: Texts, soft: bool) -> list[str]:
    """Return the keys of texts, and of their teacher's logits if the loss is `soft`."""
    return [texts.tokens.key, _labels(texts).key if soft else ""]


def _labels(texts: Texts) -> Stage:
    assert texts.logits is not None, "the teacher was not asked about these texts"
    return texts.logits


def training_examples(texts: Texts, recipe: "Recipe") -> "Examples":
    """Return the training split, with a teacher's logits where they are wanted, and extra texts."""
    from lmopt.data.batches import join, take

    examples = take(examples_of(texts, recipe.alpha > 0), recipe.train_examples, recipe.seed)
    if recipe.unlabelled_examples == 0 or texts.extra is None:
        return examples
    extra = examples_of(texts.extra, True)
    return join(examples, take(extra, recipe.unlabelled_examples, recipe.seed))


def examples_of(texts: Texts, soft: bool) -> "Examples":
    """Return all examples of these texts, with their teacher's logits if the loss is `soft`."""
    import numpy as np

    from lmopt.data.batches import Examples
    from lmopt.data.tokens import load_tokens

    return Examples(
        load_tokens(texts.tokens.path / "tokens.npz")[texts.split],
        texts.data.splits[texts.split].labels,
        np.load(_labels(texts).path / "logits.npy") if soft else None,
    )


def training_settings(recipe: "Recipe", epochs: float, device: str) -> "TrainingSettings":
    """Return a recipe's settings for some epochs of training."""
    from lmopt.training.trainer import TrainingSettings

    return TrainingSettings(
        epochs=epochs,
        learning_rate=recipe.static_learning_rate if recipe.layers == 0 else recipe.learning_rate,
        batch_size=recipe.batch_size,
        freeze_embeddings=recipe.freeze_embeddings,
        dropout=recipe.dropout,
        token_dropout=recipe.token_dropout,
        seed=recipe.seed,
        device=device,
    )


def training_parameters(recipe: "Recipe", settings: "TrainingSettings") -> dict[str, Any]:
    """Return everything that the key of a training stage depends on; the device is not part."""
    parameters = vars(settings) | {"alpha": recipe.alpha}
    parameters |= {
        "train_examples": recipe.train_examples,
        "unlabelled_examples": recipe.unlabelled_examples,
    }
    if recipe.alpha > 0:
        parameters["temperature"] = recipe.temperature
    del parameters["device"]
    return parameters


def epochs_in_words(count: float) -> str:
    """Return a number of epochs for a sentence."""
    return "1 epoch" if count == 1 else f"{count:g} epochs"


def loss_in_words(recipe: "Recipe") -> str:
    """Return the loss of a recipe for a sentence, with a leading blank."""
    if recipe.alpha == 0:
        return " on the labels alone"
    soft = f"{recipe.alpha:g} x soft loss at temperature {recipe.temperature:g}"
    hard = f" + {1 - recipe.alpha:g} x loss on the labels" if recipe.alpha < 1 else ""
    return f" on {soft}{hard}"
