"""Make a student: fewer layers of a fine-tuned model, or a checkpoint with a new head."""

from pathlib import Path

import torch

from lmopt.compression.layers import LayerChoice, choose_layers, layer_importance
from lmopt.compression.width import narrow_width
from lmopt.data.tokens import Tokens
from lmopt.models.layers import drop_layers
from lmopt.models.loading import load_classifier, load_tokenizer, save_model
from lmopt.models.static import make_static

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
    """Save the untrained student: `base` with `layers` encoder layers.

    Args:
        base: A checkpoint or a fine-tuned model.
        label_names: The classes of a new head, drawn by `seed`. None keeps the fine-tuned head.
        layers: None keeps all layers, 0 makes a static model.
        seed: The seed of all random weights.
        folder: The student is saved here.
        choice: The rule that chooses the layers. "importance" reads `tokens`.
        hidden_size: The width of a narrower student. None keeps the width.
        static_width: The width of a static model's embeddings.
        static_hidden: The hidden width of a static model.
        tokens: Tokens of training texts.

    Raises:
        ValueError: `hidden_size` is set and `tokens` is None.
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
