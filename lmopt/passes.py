"""What is done to a model, one stage a pass: vocabulary, student, training, pruning, storage.

All of them take a saved classifier and leave one; `lmopt.pipeline` puts them into an order.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmopt import data as datas
from lmopt import distill, finetune, pretrain, prune, sensitivity, structure, student, vocabulary
from lmopt.cache import Stage, run_stage
from lmopt.config import Recipe
from lmopt.data import Data, Tokens
from lmopt.examples import Examples, States, join, select, subset, take
from lmopt.sources import fingerprint, resolve
from lmopt.stages import Walk, calibration_texts
from lmopt.training import TrainingSettings


class Texts(NamedTuple):
    """What a model is trained on: texts, their tokens, and a teacher's logits if it labelled them.

    `extra`: the same of extra texts, whose own labels, if any, are not used; None: there are none.
    """

    data: Data
    tokens: Stage
    logits: Stage | None
    split: str = "train"
    extra: "Texts | None" = None


def vocabulary_stage(walk: Walk, recipe: Recipe, model: Stage, tokens: Stage, limit: int) -> Stage:
    """The model and its tokenizer with the tokens of the training texts alone."""

    def build(folder: Path, _: Path) -> None:
        assert recipe.vocabulary_min_count is not None
        train = datas.load_tokens(tokens.path / "tokens.npz")["train"]
        vocabulary.trim_vocabulary(model.path, train, recipe.vocabulary_min_count, folder, limit)

    parameters = {"min_count": recipe.vocabulary_min_count, "max_length": limit}
    parents = [model.key, tokens.key]
    return walk.stage("vocabulary", build, vocabulary.VERSION, parameters, parents)


def factorize_stage(walk: Walk, recipe: Recipe, model: Stage, tokens: Stage) -> Stage:
    """The model with its word embeddings as a product of two thin matrices."""

    def build(folder: Path, _: Path) -> None:
        assert recipe.embedding_rank is not None
        train = datas.load_tokens(tokens.path / "tokens.npz")["train"]
        vocabulary.factorize_vocabulary(model.path, train, recipe.embedding_rank, folder)

    parameters = {"rank": recipe.embedding_rank}
    parents = [model.key, tokens.key]
    return walk.stage("factorize", build, vocabulary.VERSION, parameters, parents)


def student_stage(
    walk: Walk, data: Data, recipe: Recipe, base: Stage | str, tokens: Stage
) -> Stage:
    """The untrained student: a saved classifier, or a checkpoint that gets a new head."""
    checkpoint = isinstance(base, str)
    names = data.label_names if checkpoint else None
    path = resolve(base) if isinstance(base, str) else str(base.path)
    shape: dict[str, Any] = {"layers": recipe.layers}
    if recipe.layers == 0:
        shape |= recipe.model_dump(include={"static_width", "static_hidden"})
    if recipe.layers:
        shape["choice"] = recipe.layer_choice
    if recipe.hidden_size is not None:
        shape["hidden_size"] = recipe.hidden_size
    reads = recipe.hidden_size is not None or shape.get("choice") == "importance"

    def build(folder: Path, _: Path) -> None:
        options: dict[str, Any] = dict(shape)
        if reads:
            options["tokens"] = datas.load_tokens(tokens.path / "tokens.npz")["train"]
        student.build_student(path, names, seed=recipe.seed, folder=folder, **options)

    parameters = dict(shape)
    if checkpoint:
        parameters |= {"content": fingerprint(path), "labels": names}
    if checkpoint or recipe.layers == 0:  # Something is drawn at random.
        parameters["seed"] = recipe.seed
    parents = [] if isinstance(base, str) else [base.key]
    parents += [tokens.key] if reads else []
    return walk.stage("student", build, student.VERSION, parameters, parents)


def pretrain_stage(walk: Walk, recipe: Recipe, model: Stage, texts: Texts, teacher: Stage) -> Stage:
    """The student that has learned the teacher's hidden states, on extra text too."""
    settings = training_settings(recipe, recipe.pretrain_epochs, walk.device)
    settings = replace(settings, token_dropout=0)
    if recipe.layers != 0:  # Static embeddings have one rate, a large one, for everything.
        settings = replace(settings, learning_rate=recipe.pretrain_learning_rate)
    parts = [texts] if texts.extra is None else [texts, texts.extra]
    parents = [model.key, teacher.key, *(part.tokens.key for part in parts)]

    def build(folder: Path, scratch: Path) -> None:
        examples, *more = (_examples(part, False) for part in parts)
        chosen = subset(len(examples.labels), recipe.train_examples, recipe.seed)
        for extra in more:
            drawn = subset(len(extra.labels), recipe.pretrain_examples, recipe.seed)
            chosen = np.append(chosen, drawn + len(examples.labels))
            examples = join(examples, extra)
        states = _states(walk, model, teacher, examples.tokens, parents[1:])
        pretrain.pretrain(
            model.path,
            select(examples._replace(states=states), chosen),
            settings,
            teacher=teacher.path,
            folder=folder,
            scratch=scratch,
            progress=walk.progress,
        )

    parameters = vars(settings) | {"train_examples": recipe.train_examples}
    if texts.extra is not None:
        parameters["pretrain_examples"] = recipe.pretrain_examples
    del parameters["device"]
    return walk.stage("pretrain", build, pretrain.VERSION, parameters, parents)


def _states(
    walk: Walk, model: Stage, teacher: Stage, tokens: Tokens, parents: list[str]
) -> States | None:
    """What the teacher makes of these tokens, once for all students; None where it is too much.

    Part of the stage that asks for it, so that nobody makes it for a student who has learned it.
    """
    layers = pretrain.states_to_learn(model.path, teacher.path, int(tokens.offsets[-1]))
    if layers is None:
        return None

    def build(folder: Path, _: Path) -> None:
        pretrain.save_states(
            model.path,
            teacher.path,
            tokens,
            layers,
            folder / "states.npy",
            device=walk.device,
            progress=walk.progress,
        )

    stage = run_stage(
        walk.cache,
        "hidden_states",
        build,
        version=pretrain.STATES_VERSION,
        parameters={"layers": layers},
        parents=parents,
    )
    return States(np.load(stage.path / "states.npy", mmap_mode="r"), tokens.offsets[:-1])


def distill_stage(walk: Walk, recipe: Recipe, model: Stage, texts: Texts, teacher: Stage) -> Stage:
    """The student trained on the teacher's logits (`alpha` 0: on the labels alone)."""
    weights = {"hidden_weight": recipe.hidden_weight, "attention_weight": recipe.attention_weight}
    looks = any(weights.values())
    options: dict[str, Any] = weights | {"teacher": teacher.path} if looks else {}
    return _training_stage(
        walk,
        "distill",
        distill.distill,
        distill.VERSION,
        recipe,
        model,
        texts,
        epochs=recipe.epochs,
        options=options,
        parameters=weights | {"teacher": teacher.key} if looks else {},
    )


def structure_stage(walk: Walk, recipe: Recipe, model: Stage, texts: Texts, _: Stage) -> Stage:
    """The model with fewer neurons and heads, removed while it trains with the same loss."""
    options = {
        "ffn_keep": recipe.ffn_keep,
        "heads_keep": recipe.heads_keep,
        "criterion": recipe.structure_criterion,
        "scope": recipe.structure_scope,
    }
    return _training_stage(
        walk,
        "structure",
        structure.prune_structure,
        structure.VERSION,
        recipe,
        model,
        texts,
        epochs=recipe.structure_epochs,
        options=options,
        parameters=options,
        reads=recipe.structure_criterion == "taylor",
    )


def prune_stage(walk: Walk, recipe: Recipe, model: Stage, texts: Texts, _: Stage) -> Stage:
    """The model with the recipe's share of zeros, recovered with the same loss."""
    options = {
        "sparsity": recipe.sparsity,
        "criterion": recipe.sparsity_criterion,
        "schedule": recipe.sparsity_schedule,
    }
    return _training_stage(
        walk,
        "prune",
        prune.prune,
        prune.VERSION,
        recipe,
        model,
        texts,
        epochs=recipe.recovery_epochs,
        options=options,
        parameters=options,
        reads=recipe.sparsity_criterion == "wanda",
    )


def storage_of(walk: Walk, recipe: Recipe, model: Stage, tokens: Stage) -> dict[str, Any]:
    """What `plan_storage` takes: the recipe's storage, and the matrices that need more bits."""
    storage = recipe.storage()
    if recipe.mixed_share == 0:
        return storage

    def build(folder: Path, _: Path) -> None:
        batches = calibration_texts(tokens, model.path)
        sensitivity.find_sensitive(model.path, storage, recipe.mixed_share, batches, folder)

    parameters = {"storage": storage, "share": recipe.mixed_share}
    parents = [model.key, tokens.key]
    stage = walk.stage("sensitivity", build, sensitivity.VERSION, parameters, parents)
    return storage | {"sensitive": sensitivity.read_sensitive(stage.path)}


def finetune_stage(
    walk: Walk, recipe: Recipe, storage: dict[str, Any], model: Stage, texts: Texts
) -> Stage:
    """The model trained with its weights as they will be stored; clustered, if they are shared."""
    return _training_stage(
        walk,
        "finetune",
        finetune.finetune_stored,
        finetune.VERSION,
        recipe,
        model,
        texts,
        epochs=recipe.finetune_epochs,
        options={"storage": storage},
        parameters={"storage": storage},
        learning_rate=recipe.finetune_learning_rate,
    )


def _training_stage(
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
        parents += _keys(texts, recipe.alpha > 0)
        if recipe.unlabelled_examples > 0 and texts.extra is not None:
            parents += _keys(texts.extra, True)
    return walk.stage(name, build, version, parameters, parents)


def _keys(texts: Texts, soft: bool) -> list[str]:
    return [texts.tokens.key, _labels(texts).key if soft else ""]


def _labels(texts: Texts) -> Stage:
    assert texts.logits is not None, "the teacher was not asked about these texts"
    return texts.logits


def training_examples(texts: Texts, recipe: Recipe) -> Examples:
    """The training split, with a teacher's logits where they are wanted, and the extra texts."""
    examples = take(_examples(texts, recipe.alpha > 0), recipe.train_examples, recipe.seed)
    if recipe.unlabelled_examples == 0 or texts.extra is None:
        return examples
    extra = _examples(texts.extra, True)
    return join(examples, take(extra, recipe.unlabelled_examples, recipe.seed))


def _examples(texts: Texts, soft: bool) -> Examples:
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
