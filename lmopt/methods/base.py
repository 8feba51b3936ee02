"""What methods share: the texts that they train on, and the stage that trains."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmopt.config.recipe import Recipe
from lmopt.data import tokens as datas
from lmopt.data.batches import Examples, join, take
from lmopt.data.dataset import Data
from lmopt.stages.cache import Stage
from lmopt.stages.context import Walk
from lmopt.training.trainer import TrainingSettings


class Texts(NamedTuple):
    """What a model is trained on: texts, their tokens, and a teacher's logits if it labelled them.

    `extra`: the same of extra texts, whose own labels, if any, are not used; None: there are none.
    """

    data: Data
    tokens: Stage
    logits: Stage | None
    split: str = "train"
    extra: "Texts | None" = None


def training_stage(
    walk: Walk,
    name: str,
    train: Callable[..., None],
    version: int,
    recipe: Recipe,
    model: Stage,
    texts: Texts,
    *,
    epochs: float,
    options: dict[str, Any],
    parameters: dict[str, Any],
    learning_rate: float | None = None,
    reads: bool = False,
) -> Stage:
    """A pass that may train: its key depends on texts and settings if it does, or `reads` them."""
    settings = training_settings(recipe, epochs, walk.device)
    if learning_rate is not None:
        settings = replace(settings, learning_rate=learning_rate)

    def build(folder: Path, scratch: Path) -> None:
        train(
            model.path,
            training_examples(texts, recipe),
            settings,
            temperature=recipe.temperature,
            alpha=recipe.alpha,
            folder=folder,
            scratch=scratch,
            progress=walk.progress,
            **options,
        )

    parents = [model.key]
    if epochs > 0 or reads:
        parameters = parameters | training_parameters(recipe, settings)
        parents += text_keys(texts, recipe.alpha > 0)
        if recipe.unlabelled_examples > 0 and texts.extra is not None:
            parents += text_keys(texts.extra, True)
    return walk.stage(name, build, version, parameters, parents)


def text_keys(texts: Texts, soft: bool) -> list[str]:
    return [texts.tokens.key, _labels(texts).key if soft else ""]


def _labels(texts: Texts) -> Stage:
    assert texts.logits is not None, "the teacher was not asked about these texts"
    return texts.logits


def training_examples(texts: Texts, recipe: Recipe) -> Examples:
    """The training split, with a teacher's logits where they are wanted, and the extra texts."""
    examples = take(examples_of(texts, recipe.alpha > 0), recipe.train_examples, recipe.seed)
    if recipe.unlabelled_examples == 0 or texts.extra is None:
        return examples
    extra = examples_of(texts.extra, True)
    return join(examples, take(extra, recipe.unlabelled_examples, recipe.seed))


def examples_of(texts: Texts, soft: bool) -> Examples:
    return Examples(
        datas.load_tokens(texts.tokens.path / "tokens.npz")[texts.split],
        texts.data.splits[texts.split].labels,
        np.load(_labels(texts).path / "logits.npy") if soft else None,
    )


def training_settings(recipe: Recipe, epochs: float, device: str) -> TrainingSettings:
    """A recipe's training, for so many epochs of the examples that it is given."""
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


def training_parameters(recipe: Recipe, settings: TrainingSettings) -> dict[str, Any]:
    """What the key of a training stage depends on; where it ran is not part of it."""
    parameters = vars(settings) | {"alpha": recipe.alpha}
    parameters |= {
        "train_examples": recipe.train_examples,
        "unlabelled_examples": recipe.unlabelled_examples,
    }
    if recipe.alpha > 0:
        parameters["temperature"] = recipe.temperature
    del parameters["device"]
    return parameters
