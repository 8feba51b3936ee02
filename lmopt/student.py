"""Make a student: fewer layers of a fine-tuned model, or a checkpoint with a new head."""

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

from lmopt.shape import recorded_shape, reshaped, select_layers
from lmopt.sources import resolve

VERSION = 1


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
    except (OSError, ValueError, KeyError, RuntimeError) as error:
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


def kept_layers(count: int, keep: int) -> list[int]:
    """Indices of `keep` of `count` layers: evenly spaced, the last one always among them."""
    if not 1 <= keep <= count:
        raise ValueError(f"layers must be in [1, {count}] for this model, got {keep}")
    return [(i + 1) * count // keep - 1 for i in range(keep)]


def drop_layers(model: PreTrainedModel, keep: int) -> None:
    """Keep `keep` encoder layers, in place; the configuration follows, so the model reloads.

    Source: Sanh et al. (2019), DistilBERT, section 3 (every other layer).
    """
    layers = encoder_layers(model)
    count = len(layers)
    indices = kept_layers(count, keep)
    kept = [layers[i] for i in indices]
    for name, value in model.config.to_dict().items():  # Such as `layer_types`: one entry a layer.
        if isinstance(value, list) and len(value) == count:
            setattr(model.config, name, [value[i] for i in indices])
    select_layers(model.config, count, indices)
    del layers[keep:]
    for i, layer in enumerate(kept):
        layers[i] = layer
    model.config.num_hidden_layers = keep


def build_student(
    base: str | Path, label_names: list[str] | None, layers: int | None, seed: int, folder: Path
) -> None:
    """Save the untrained student: `base` with `layers` encoder layers (None: all).

    `label_names` for a checkpoint that needs a new head, drawn by `seed`; None for a fine-tuned
    model, whose head is kept.
    """
    torch.manual_seed(seed)
    model = load_classifier(base, label_names)
    if layers is not None:
        drop_layers(model, layers)
    save_model(model, load_tokenizer(base), folder)
