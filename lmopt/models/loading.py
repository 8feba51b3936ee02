"""Load and save classifiers and tokenizers, by hub id or folder, in any recorded shape."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from lmopt.errors import UserError
from lmopt.locations import resolve
from lmopt.models.families.registry import longest_text
from lmopt.models.shape import recorded_shape, reshaped


def load_classifier(model: str | Path, label_names: list[str] | None = None) -> PreTrainedModel:
    """Load a sequence classifier in fp32; with `label_names`, a head of that many classes.

    A shape that the configuration alone cannot say (`lmopt.models.shape`) is replayed first.

    Raises:
        ValueError: The model cannot be loaded, or lmopt has cut it and its weights do not fit what
            is loaded: nothing of a student may be drawn at random or left out.
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
    shape, dropped = recorded_shape(config), hasattr(config, "kept_layers")
    if not shape and not dropped:
        return _load(AutoModelForSequenceClassification, model, options)
    kind = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    options["output_loading_info"] = True
    loaded, info = _load(reshaped(kind, shape), model, options)
    if label_names is None and (wrong := sorted({*info["missing_keys"], *info["unexpected_keys"]})):
        what = f"shape {shape}" if shape else f"{config.num_hidden_layers} kept layers"
        remedy = "; leave layers out" if dropped else ""
        raise UserError(f"the weights in {str(model)!r} do not fit its {what}: {wrong[0]}{remedy}")
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
        raise UserError(f"no {what} can be loaded from {str(model)!r}: {reason}") from error


def check_length(model: str | Path, max_length: int) -> None:
    """ValueError if `max_length` tokens are more than the model has positions for."""
    positions = longest_text(load_config(model).to_dict())
    if positions is not None and max_length > positions:
        raise UserError(
            f"task.max_length must be at most {positions} for {model}, got {max_length}"
        )


def save_model(model: PreTrainedModel, tokenizer: Any, folder: Path) -> None:
    """Save what `load_classifier` and `load_tokenizer` read."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
