"""Training examples, and how they become batches."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, Sampler
from transformers import PretrainedConfig, PreTrainedModel
from transformers.trainer_pt_utils import get_length_grouped_indices

from lmopt.data.tokens import Tokens, concatenate, pad


class States(NamedTuple):
    """A teacher's hidden states: one row for each token, from row `start[i]` for text i.

    `rows` (tokens of all texts, layers, width) are the bits of bf16; they may be on disk.
    """

    rows: npt.NDArray[np.int16]
    start: npt.NDArray[np.int64]


class Examples(NamedTuple):
    """Tokens and labels (n,) to train on; `teacher_logits` (n, classes) where they are distilled.

    A text without a label has -1. It is learned from the teacher's logits alone.
    """

    tokens: Tokens
    labels: npt.NDArray[np.int64]
    teacher_logits: npt.NDArray[np.float32] | None = None
    states: States | None = None


def subset(count: int, limit: int | None, seed: int) -> npt.NDArray[np.int64]:
    """Draw the indices of at most `limit` examples by `seed`; a smaller limit gives a subset."""
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[:limit])


def select(examples: Examples, indices: npt.NDArray[np.int64]) -> Examples:
    """Return these examples alone."""
    texts = [examples.tokens[i] for i in indices]
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    logits, states = examples.teacher_logits, examples.states
    return Examples(
        Tokens(np.concatenate(texts), offsets),
        examples.labels[indices],
        None if logits is None else logits[indices],
        None if states is None else States(states.rows, states.start[indices]),
    )


def take(examples: Examples, limit: int | None, seed: int) -> Examples:
    """Return at most `limit` of the examples, drawn by `seed`."""
    return select(examples, subset(len(examples.labels), limit, seed))


def join(examples: Examples, extra: Examples) -> Examples:
    """Return both, one after the other.

    Raises:
        ValueError: Only one of them has the teacher's logits.
    """
    logits = [part.teacher_logits for part in (examples, extra)]
    some = [part for part in logits if part is not None]
    if len(some) == 1:
        raise ValueError("extra text and training split must both have the teacher's logits")
    return Examples(
        concatenate([examples.tokens, extra.tokens]),
        np.concatenate([examples.labels, extra.labels]),
        np.concatenate(some) if some else None,
    )


def pad_id(config: PretrainedConfig) -> int:
    """Return the padding token's id; 0 where there is none, because padded places are masked."""
    return 0 if config.pad_token_id is None else int(config.pad_token_id)


def padded(
    sequences: Sequence[npt.NDArray[np.int32]], model: PreTrainedModel
) -> dict[str, torch.Tensor]:
    """Return input_ids and attention_mask, both (batch, longest), on the device of `model`."""
    input_ids, mask = pad(sequences, pad_id(model.config))
    arrays = {"input_ids": input_ids, "attention_mask": mask}
    return {name: torch.from_numpy(array).to(model.device) for name, array in arrays.items()}


class ExampleDataset(Dataset[dict[str, Any]]):
    """The chosen examples, one dictionary each.

    `token_dropout` is the probability with which each token between the first and the last is left
    out, anew at each epoch. The teacher's logits and states stay those of the whole text.

    Source: Iyyer et al. (2015), Deep Unordered Composition Rivals Syntactic Methods for Text
    Classification, section 3.2 (word dropout).
    """

    def __init__(
        self, examples: Examples, indices: npt.NDArray[np.int64], token_dropout: float = 0
    ) -> None:
        self.examples = examples
        self.indices = indices
        self.token_dropout = token_dropout
        self.lengths: list[int] = examples.tokens.lengths[indices].tolist()

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> dict[str, Any]:
        index = self.indices[item]
        example = {"input_ids": self.examples.tokens[index], "labels": self.examples.labels[index]}
        count = len(example["input_ids"])
        if self.examples.states is not None:
            rows, start = self.examples.states
            example["states"] = rows[start[index] : start[index] + count]
        if self.token_dropout > 0:  # torch's generator: a checkpoint holds its state.
            kept = torch.rand(count).numpy() >= self.token_dropout
            kept[[0, -1]] = True
            example |= {n: example[n][kept] for n in ("input_ids", "states") if n in example}
        if self.examples.teacher_logits is not None:
            example["teacher_logits"] = self.examples.teacher_logits[index]
        return example


class Collator:
    """Pads a batch to its longest text."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        input_ids, mask = pad([example["input_ids"] for example in batch], self.pad_id)
        arrays = {"input_ids": input_ids, "attention_mask": mask}
        for name in batch[0].keys() - {"input_ids", "states"}:
            arrays[name] = np.stack([example[name] for example in batch])
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if "states" in batch[0]:
            states = np.zeros((*mask.shape, *batch[0]["states"].shape[1:]), np.int16)
            for i, example in enumerate(batch):
                states[i, : len(example["states"])] = example["states"]
            tensors["states"] = torch.from_numpy(states).view(torch.bfloat16)
        return tensors


class LengthSampler(Sampler[int]):
    """A length-grouped order that depends on seed and epoch alone, so that it can be resumed."""

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer at the beginning of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator))
