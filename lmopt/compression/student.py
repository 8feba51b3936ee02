"""Make a student: fewer layers of a fine-tuned model, or a checkpoint with a new head."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel

from lmopt.compression.layers import LayerChoice, choose_layers, layer_importance
from lmopt.compression.width import narrow_width
from lmopt.data.tokens import Tokens
from lmopt.errors import UserError
from lmopt.models.loading import encoder_layers, load_classifier, load_tokenizer, save_model
from lmopt.models.shape import select_layers
from lmopt.models.static import make_static

VERSION = 2


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
        raise UserError(
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
