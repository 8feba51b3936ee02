"""Make a student: fewer layers of a fine-tuned model, or a checkpoint with a new head."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from lmopt.data import Tokens
from lmopt.layers import LayerChoice, choose_layers, layer_importance
from lmopt.shape import recorded_shape, reshaped, select_layers
from lmopt.sources import resolve
from lmopt.static import make_static
from lmopt.width import narrow_width

VERSION = 2
# Families whose positions begin after the padding's id; MPNet's after 1, whatever its padding is.
OFFSET_POSITIONS = {
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}


def load_classifier(model: str | Path, label_names: list[str] | None = None) -> PreTrainedModel:
    """Load a sequence classifier in fp32; with `label_names`, a head of that many classes.

    A shape that the configuration alone cannot say (`lmopt.shape`) is replayed first.
    """
    options: dict[str, Any] = {"dtype": torch.float32}
    if label_names is not None:
        options |= {
            "num_labels": len(label_names),
            "id2label": dict(enumerate(label_names)),
            "label2id": {name: i for i, name in enumerate(label_names)},
            "ignore_mismatched_sizes": True,
        }
    config = load_config(model)
    if not (shape := recorded_shape(config)):
        return _load(AutoModelForSequenceClassification, model, options)
    kind = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    options["output_loading_info"] = True
    loaded, info = _load(reshaped(kind, shape), model, options)
    if label_names is None and (wrong := sorted({*info["missing_keys"], *info["unexpected_keys"]})):
        raise ValueError(f"the weights in {str(model)!r} do not fit its shape {shape}: {wrong[0]}")
    loaded.__class__ = kind  # The shape is there: now it is a model like any other.
    return loaded


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
    if positions is not None and config.model_type in OFFSET_POSITIONS:
        positions -= 1 + (1 if config.model_type == "mpnet" else config.pad_token_id)
    if positions is not None and positions > 0 and max_length > positions:
        raise ValueError(
            f"task.max_length must be at most {positions} for {model}, got {max_length}"
        )


def save_model(model: PreTrainedModel, tokenizer: Any, folder: Path) -> None:
    """Save what `load_classifier` and `load_tokenizer` read."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def encoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The stack of encoder layers: the ModuleList whose length is `num_hidden_layers`.

    ALBERT's layers share their weights: its stack has one entry for each group of them.
    """
    config = model.config
    count = getattr(config, "num_hidden_groups", getattr(config, "num_hidden_layers", 0))
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not stacks:
        kind = model.config.model_type
        raise ValueError(
            f"no stack of {count} encoder layers in this {kind} model: its layers "
            "cannot be dropped or pruned (leave layers and sparsity out)"
        )
    return stacks[0]


def drop_layers(model: PreTrainedModel, indices: Sequence[int]) -> None:
    """Keep the encoder layers `indices`, in place; the configuration follows: the model reloads.

    The configuration also remembers where the layers came from: `kept_layers` of `kept_of`.

    Source: Sanh et al. (2019), DistilBERT, section 3 (every other layer).
    """
    layers, config = encoder_layers(model), model.config
    count = config.num_hidden_layers
    origin = getattr(config, "kept_layers", range(count))
    groups = getattr(config, "num_hidden_groups", None)
    if groups is None:
        kept = [layers[i] for i in indices]
        for name, value in config.to_dict().items():  # As `layer_types`: one entry a layer.
            if isinstance(value, list) and len(value) == count:
                setattr(config, name, [value[i] for i in indices])
        select_layers(config, count, indices)
        del layers[len(indices) :]
        for i, layer in enumerate(kept):
            layers[i] = layer
    elif groups > 1:  # Of ALBERT with one group, one layer is run so many times.
        raise ValueError(
            f"layers that share {groups} groups of weights cannot be dropped from this "
            f"{config.model_type} model: leave layers out"
        )
    config.num_hidden_layers = len(indices)
    config.kept_layers = [origin[i] for i in indices]
    config.kept_of = getattr(config, "kept_of", count)


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
