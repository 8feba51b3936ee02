"""Make a student: fewer layers of a fine-tuned model, or a checkpoint with a new head."""

from pathlib import Path
from typing import Any

import torch

from lmopt.config.recipe import Recipe
from lmopt.data import tokens as datas
from lmopt.data.dataset import Data
from lmopt.data.tokens import Tokens
from lmopt.locations import fingerprint, resolve
from lmopt.methods.layers import LayerChoice, choose_layers, layer_importance
from lmopt.methods.width import narrow_width
from lmopt.models.layers import drop_layers
from lmopt.models.loading import load_classifier, load_tokenizer, save_model
from lmopt.models.static import make_static
from lmopt.stages.cache import Stage
from lmopt.stages.context import Walk

VERSION = 2


def build_student(
    base: str | Path,
    label_names: list[str] | None,
    layers: int | None,
    seed: int,
    folder: Path,
    *,
    choice: LayerChoice = "even",
    hidden_size: int | None = None,
    static_width: int = 256,
    static_hidden: int = 256,
    tokens: Tokens | None = None,
) -> None:
    """Save the untrained student: `base` with `layers` encoder layers (None: all, 0: static).

    `label_names` for a checkpoint that needs a new head, drawn by `seed`; None for a fine-tuned
    model, whose head is kept. The choice "importance" and `hidden_size` read `tokens` of training
    texts.
    """
    torch.manual_seed(seed)
    model = load_classifier(base, label_names)
    tokenizer = load_tokenizer(base)
    if layers == 0:
        model = make_static(model, tokenizer, width=static_width, hidden=static_hidden, seed=seed)
    elif layers is not None:
        importance = None
        if choice == "importance" and tokens is not None:
            importance = layer_importance(model, tokens)
        count = model.config.num_hidden_layers
        drop_layers(model, choose_layers(count, layers, choice, importance))
    if hidden_size is not None:
        if tokens is None:
            raise ValueError("hidden_size needs tokens of training texts")
        model = narrow_width(model, tokens, hidden_size)
    save_model(model, tokenizer, folder)


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
        build_student(path, names, seed=recipe.seed, folder=folder, **options)

    parameters = dict(shape)
    if checkpoint:
        parameters |= {"content": fingerprint(path), "labels": names}
    if checkpoint or recipe.layers == 0:  # Something is drawn at random.
        parameters["seed"] = recipe.seed
    parents = [] if isinstance(base, str) else [base.key]
    parents += [tokens.key] if reads else []
    return walk.stage("student", build, VERSION, parameters, parents)
