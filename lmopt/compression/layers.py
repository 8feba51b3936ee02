"""Which encoder layers a student keeps, and which teacher layer each of them answers to."""

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
    """Indices, ascending, of the `keep` of `count` layers that a student keeps.

    "even": evenly spaced, the last one among them; "importance": those with the largest
    `importance` (count,). Raises ValueError if `keep` does not fit the model.
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
    """1 - cosine similarity of each layer's input and output (layers,), mean over tokens.

    Measured on `texts` of the given texts, drawn by `seed`; no labels and no gradients needed.

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
