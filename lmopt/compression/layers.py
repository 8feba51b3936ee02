"""Choose the encoder layers that a student keeps, and measure their importance."""

from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cosine_similarity

from lmopt.data.batches import padded, subset
from lmopt.data.tokens import Tokens
from lmopt.errors import UserError
from lmopt.models.families.limits import layers_refusal

LayerChoice = Literal["even", "first", "last", "importance"]
LAYER_CHOICES: tuple[LayerChoice, ...] = get_args(LayerChoice)


def choose_layers(
    count: int,
    keep: int,
    choice: LayerChoice = "even",
    importance: npt.NDArray[np.float64] | None = None,
) -> list[int]:
    """Return the ascending indices of the `keep` of `count` layers that a student keeps.

    The choice "even" takes evenly spaced layers, with the last one among them. "importance" takes
    the layers with the largest `importance` (count,).

    Raises:
        UserError: The model cannot keep `keep` layers.
        ValueError: The choice is "importance" and `importance` is None.
    """
    if reason := layers_refusal(keep, count):
        raise UserError(reason)
    if choice == "even":
        return [(i + 1) * count // keep - 1 for i in range(keep)]
    if choice == "first":
        return list(range(keep))
    if choice == "last":
        return list(range(count - keep, count))
    if importance is None:
        raise ValueError("the choice 'importance' needs the measured importance of each layer")
    return sorted(np.argsort(-importance, kind="stable")[:keep].tolist())


@torch.no_grad()
def layer_importance(
    model: Any, tokens: Tokens, *, texts: int = 512, batch_size: int = 32, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Return 1 - cosine similarity of each layer's input and output (layers,), mean over tokens.

    `seed` draws `texts` of the given texts. The measurement needs no labels and no gradients.

    Source: Men et al. (2024), ShortGPT, equation 1 (Block Influence).
    """
    chosen = subset(len(tokens), texts, seed)
    total: npt.NDArray[np.float64] = np.zeros(model.config.num_hidden_layers)
    count = 0
    model.eval()
    for start in range(0, len(chosen), batch_size):
        batch = padded([tokens[i] for i in chosen[start : start + batch_size]], model)
        states = model(**batch, output_hidden_states=True).hidden_states
        real = batch["attention_mask"].bool()
        for i, (before, after) in enumerate(pairwise(states)):
            total[i] += (1 - cosine_similarity(before[real], after[real], dim=-1)).sum().item()
        count += int(real.sum())
    return total / count
