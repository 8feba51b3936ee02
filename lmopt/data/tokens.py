"""Token ids of many texts: tokenize, save, load, concatenate and pad."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TOKENS_VERSION = 1
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tokens:
    """Token ids of n texts of various lengths, flat; text i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: npt.NDArray[np.int32]
    offsets: Ints

    def __getitem__(self, index: int) -> npt.NDArray[np.int32]:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        """Return the number of tokens of each text (n,)."""
        return np.diff(self.offsets)


def tokenize(tokenizer: Any, texts: list[str], max_length: int) -> Tokens:
    """Return token ids with special tokens, truncated to `max_length`, not padded."""
    encoded = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
    offsets = np.cumsum([0] + [len(ids) for ids in encoded], dtype=np.int64)
    return Tokens(np.concatenate([np.asarray(ids, np.int32) for ids in encoded]), offsets)


def save_tokens(path: Path, tokens: dict[str, Tokens]) -> None:
    """Write the tokens of every split to one npz file."""
    arrays: dict[str, Any] = {}
    for name, t in tokens.items():
        arrays |= {f"{name}_ids": t.ids, f"{name}_offsets": t.offsets}
    np.savez(path, **arrays)


def concatenate(parts: Sequence[Tokens]) -> Tokens:
    """Return the texts of all parts, one after the other."""
    lengths = np.concatenate([part.lengths for part in parts])
    return Tokens(np.concatenate([part.ids for part in parts]), np.append(0, np.cumsum(lengths)))


def load_tokens(path: Path) -> dict[str, Tokens]:
    """Load what `save_tokens` wrote."""
    with np.load(path) as file:
        names = [name.removesuffix("_ids") for name in file.files if name.endswith("_ids")]
        return {name: Tokens(file[f"{name}_ids"], file[f"{name}_offsets"]) for name in names}


def pad(
    sequences: Sequence[npt.NDArray[np.int32]],
    pad_id: int,
    pad_to_multiple_of: int = 0,
    limit: int | None = None,
) -> tuple[Ints, Ints]:
    """Return token ids and attention mask, both (batch, length of the longest).

    The length is rounded up to a multiple of `pad_to_multiple_of` tokens (0: not at all), but not
    beyond `limit` tokens, the most that a model takes (None: any).
    """
    longest = max(len(ids) for ids in sequences)
    step = pad_to_multiple_of or 1
    length = -(-longest // step) * step
    if limit is not None:
        length = max(longest, min(limit, length))
    input_ids = np.full((len(sequences), length), pad_id, np.int64)
    mask = np.zeros_like(input_ids)
    for row, ids in enumerate(sequences):
        input_ids[row, : len(ids)] = ids
        mask[row, : len(ids)] = 1
    return input_ids, mask


Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""input_ids and attention_mask, both (batch, length)"""
