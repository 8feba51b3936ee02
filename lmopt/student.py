"""Make a student: fewer layers of a fine-tuned model, or a checkpoint with a new head."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from lmopt.data import Tokens
from lmopt.layers import LayerChoice, choose_layers, layer_importance
from lmopt.sources import resolve

VERSION = 2


def load_classifier(model: str | Path, label_names: list[str] | None = None) -> PreTrainedModel:
    """Load a sequence classifier in fp32; with `label_names`, a head of that many classes."""
    options: dict[str, Any] = {"dtype": torch.float32}
    if label_names is not None:
        options |= {
            "num_labels": len(label_names),
            "id2label": dict(enumerate(label_names)),
            "label2id": {name: i for i, name in enumerate(label_names)},
            "ignore_mismatched_sizes": True,
        }
    return _load(AutoModelForSequenceClassification, model, options)


def load_config(model: str | Path) -> Any:
    """Load a model's configuration."""
    return _load(AutoConfig, model, {})


def load_tokenizer(model: str | Path) -> Any:
    """Load a model's tokenizer."""
    return _load(AutoTokenizer, model, {})


def _load(kind: Any, model: str | Path, options: dict[str, Any]) -> Any:
    """`from_pretrained` of a hub id or a folder; ValueError in one line if that fails."""
    location = resolve(str(model))
    try:
        return kind.from_pretrained(location, **options)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        what = kind.__name__.removeprefix("Auto")
        raise ValueError(f"no {what} can be loaded from {str(model)!r}: {reason}") from error


def check_length(model: str | Path, max_length: int) -> None:
    """ValueError if `max_length` tokens are more than the model has positions for."""
    config = load_config(model)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type in {"roberta", "xlm-roberta", "camembert"}:
        positions -= config.pad_token_id + 1  # Their positions begin after the padding's.
    if positions is not None and positions > 0 and max_length > positions:
        raise ValueError(
            f"task.max_length must be at most {positions} for {model}, got {max_length}"
        )


def save_model(model: PreTrainedModel, tokenizer: Any, folder: Path) -> None:
    """Save what `load_classifier` and `load_tokenizer` read."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def encoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The stack of encoder layers: the ModuleList whose length is `num_hidden_layers`."""
    count = model.config.num_hidden_layers
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not stacks:
        kind = model.config.model_type
        raise ValueError(
            f"no stack of {count} encoder layers in this {kind} model: its layers "
            "cannot be dropped or pruned (leave layers and sparsity out)"
        )
    return stacks[0]


def drop_layers(model: PreTrainedModel, indices: list[int]) -> None:
    """Keep the encoder layers `indices`, in place; the configuration follows: the model reloads.

    The configuration also remembers where the layers came from: `kept_layers` of `kept_of`.

    Source: Sanh et al. (2019), DistilBERT, section 3 (every other layer).
    """
    layers, config = encoder_layers(model), model.config
    count = len(layers)
    origin = getattr(config, "kept_layers", range(count))
    kept = [layers[i] for i in indices]
    for name, value in config.to_dict().items():  # Such as `layer_types`: one entry a layer.
        if isinstance(value, list) and len(value) == count:
            setattr(config, name, [value[i] for i in indices])
    del layers[len(indices) :]
    for i, layer in enumerate(kept):
        layers[i] = layer
    config.num_hidden_layers = len(indices)
    config.kept_layers = [origin[i] for i in indices]
    config.kept_of = getattr(config, "kept_of", count)


def build_student(
    base: str | Path,
    label_names: list[str] | None,
    layers: int | None,
    seed: int,
    folder: Path,
    choice: LayerChoice = "even",
    tokens: Tokens | None = None,
) -> None:
    """Save the untrained student: `base` with `layers` encoder layers (None: all), by `choice`.

    `label_names` for a checkpoint that needs a new head, drawn by `seed`; None for a fine-tuned
    model, whose head is kept. `tokens` are training texts: the choice "importance" reads some.
    """
    torch.manual_seed(seed)
    model = load_classifier(base, label_names)
    if layers is not None:
        importance = None
        if choice == "importance" and tokens is not None:
            importance = layer_importance(model, tokens)
        count = len(encoder_layers(model))
        drop_layers(model, choose_layers(count, layers, choice, importance))
    save_model(model, load_tokenizer(base), folder)
