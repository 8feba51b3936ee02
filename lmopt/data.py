"""The task's data: documents packed into chunks, split by document, tokenized once."""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lmopt.cache import content_hash
from lmopt.config import SplitConfig, TaskConfig
from lmopt.sources import Rows, read_rows

VERSION = 1
TOKENS_VERSION = 1
SPLITS = ("train", "validation", "test")
# A sentence ends at . ! or ? (and its closing quote) before a space, or at the end of a line.
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"'”’»)])\s+|\s*\n\s*")

Ints = npt.NDArray[np.int64]


class Split(NamedTuple):
    """Examples of one split: texts (n), labels (n,) and document numbers (n,)."""

    texts: list[str]
    labels: Ints
    groups: Ints


@dataclass(frozen=True)
class Data:
    """A task's data; `key` is the hash of its content."""

    label_names: list[str]
    splits: dict[str, Split]
    key: str


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
        """Number of tokens of each text (n,)."""
        return np.diff(self.offsets)


def build_data(task: TaskConfig, folder: Path) -> None:
    """Read, chunk, deduplicate and split the task's data into `folder`.

    Raises ValueError for data that cannot be used, in one line with the remedy.
    """
    tables, names = read_rows(task)
    if task.chunk_min_words is not None:
        tables = {name: chunk_rows(rows, task.chunk_min_words) for name, rows in tables.items()}
    # Held-out texts first: of a text that is in two splits, the training copy goes.
    order = [name for name in ("all", "test", "validation", "train") if name in tables]
    tables = dict(zip(order, drop_duplicates([tables[name] for name in order]), strict=True))
    values = {label for rows in tables.values() for label in rows.labels}
    if names is None:
        ordered = sorted(values, key=lambda v: (isinstance(v, str), v))
        index = {value: i for i, value in enumerate(ordered)}
        names = [str(value) for value in ordered]
    else:
        index = {i: i for i in range(len(names))}
    splits = split_tables(tables, task.split, task.seed)
    documents: dict[str, int] = {}
    content: dict[str, Any] = {"label_names": names}
    for name in SPLITS:
        rows = splits[name]
        content[name] = {
            "texts": rows.texts,
            "labels": [index[label] for label in rows.labels],
            "groups": [documents.setdefault(group, len(documents)) for group in rows.groups],
        }
    _check(content, task)
    content["key"] = content_hash(content)
    (folder / "data.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def load_data(folder: Path) -> Data:
    """Load what `build_data` or `lmopt.unlabelled.build_unlabelled` wrote."""
    content = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    splits = {
        name: Split(
            content[name]["texts"],
            np.asarray(content[name]["labels"], np.int64),
            np.asarray(content[name]["groups"], np.int64),
        )
        for name in content
        if name not in ("label_names", "key")
    }
    return Data(content["label_names"], splits, content["key"])


def chunk_text(text: str, min_words: int) -> list[str]:
    """Pack consecutive sentences to at least `min_words` words; a short rest joins the last."""
    return pack(list(filter(None, SENTENCE_END.split(text.strip()))), min_words)


def pack(sentences: Sequence[str], min_words: int) -> list[str]:
    """Join consecutive sentences to at least `min_words` words; a short rest joins the last."""
    chunks: list[list[str]] = []
    words = min_words
    for sentence in sentences:
        if words >= min_words:
            chunks.append([])
            words = 0
        chunks[-1].append(sentence)
        words += len(sentence.split())
    if len(chunks) > 1 and words < min_words:
        rest = chunks.pop()
        chunks[-1].extend(rest)
    return [" ".join(chunk) for chunk in chunks]


def chunk_rows(rows: Rows, min_words: int) -> Rows:
    """Replace every text by its chunks, which keep its label and document."""
    chunked = Rows([], [], [])
    for text, label, group in zip(*rows, strict=True):
        chunks = chunk_text(text, min_words)
        chunked.texts.extend(chunks)
        chunked.labels.extend([label] * len(chunks))
        chunked.groups.extend([group] * len(chunks))
    return chunked


def drop_duplicates(tables: Sequence[Rows]) -> list[Rows]:
    """Keep the first of equal texts, within and across tables."""
    seen: set[str] = set()
    kept = []
    for rows in tables:
        unique = []
        for i, text in enumerate(rows.texts):
            if text not in seen:
                seen.add(text)
                unique.append(i)
        kept.append(_select(rows, unique))
    return kept


def split_tables(tables: dict[str, Rows], fractions: SplitConfig, seed: int) -> dict[str, Rows]:
    """Make train, validation and test: own splits are kept, missing ones carved by document."""
    source = "all" if "all" in tables else "train"
    missing = [name for name in SPLITS if name not in tables or name == source]
    shares = {name: getattr(fractions, name) for name in {"train": 0, **dict.fromkeys(missing)}}
    carved = split_documents(tables[source], shares, seed)
    return {name: carved[name] if name in carved else tables[name] for name in SPLITS}


def split_documents(rows: Rows, shares: dict[str, float], seed: int) -> dict[str, Rows]:
    """Split by document, stratified by label, with about `shares` of the documents of each class.

    Raises ValueError for a class with fewer documents than splits.
    """
    if len(shares) == 1:
        return dict.fromkeys(shares, rows)
    classes: dict[str | int, dict[str, None]] = defaultdict(dict)
    label_of: dict[str, str | int] = {}
    for label, group in zip(rows.labels, rows.groups, strict=True):
        classes[label_of.setdefault(group, label)][group] = None
    rng = np.random.default_rng(seed)
    split_of: dict[str, str] = {}
    for label in sorted(classes, key=str):
        documents = list(classes[label])
        if len(documents) < len(shares):
            raise ValueError(
                f"class {label!r} has {len(documents)} document(s), but {len(shares)} splits "
                "need one each: add examples or remove the class"
            )
        rng.shuffle(documents)
        for name, count in _counts(len(documents), shares).items():
            split_of |= dict.fromkeys(documents[:count], name)
            documents = documents[count:]
    return {
        name: _select(rows, [i for i, group in enumerate(rows.groups) if split_of[group] == name])
        for name in shares
    }


def _counts(documents: int, shares: dict[str, float]) -> dict[str, int]:
    """Round shares to whole documents, at least one each."""
    total = sum(shares.values())
    counts = {name: max(1, round(documents * share / total)) for name, share in shares.items()}
    largest = max(counts, key=lambda name: counts[name])
    counts[largest] += documents - sum(counts.values())
    return counts


def _select(rows: Rows, indices: Sequence[int]) -> Rows:
    return Rows(*([column[i] for i in indices] for column in rows))  # type: ignore[arg-type]


def _check(content: dict[str, Any], task: TaskConfig) -> None:
    names = content["label_names"]
    train = set(content["train"]["labels"])
    for name in SPLITS:
        if not content[name]["texts"]:
            raise ValueError(f"the {name} split of {task.dataset} is empty: add labelled examples")
        unseen = set(content[name]["labels"]) - train
        if unseen:
            labels = ", ".join(repr(names[i]) for i in sorted(unseen))
            raise ValueError(f"class {labels} is in {name} but not in train ({task.dataset})")
    if len(train) < 2:  # Though a dataset may name more.
        only = names[train.pop()]
        raise ValueError(f"{task.dataset} has one class ({only!r}): at least 2 are needed")


def tokenize(tokenizer: Any, texts: list[str], max_length: int) -> Tokens:
    """Token ids with special tokens, truncated to `max_length`, not padded."""
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
    """The texts of all parts, one after the other."""
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
    """Token ids and attention mask, both (batch, length of the longest).

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
