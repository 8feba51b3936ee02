"""Build the task's data: read, chunk, deduplicate and split by document."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmopt.config.task import SplitConfig, TaskConfig
from lmopt.data.chunking import chunk_rows
from lmopt.data.sources import Rows, read_rows
from lmopt.data.tokens import Ints
from lmopt.errors import UserError
from lmopt.hashing import content_hash

VERSION = 1
SPLITS = ("train", "validation", "test")


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
    """Load what `build_data` or `lmopt.data.extra_texts.build_unlabelled` wrote."""
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
            raise UserError(
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
            raise UserError(f"the {name} split of {task.dataset} is empty: add labelled examples")
        unseen = set(content[name]["labels"]) - train
        if unseen:
            labels = ", ".join(repr(names[i]) for i in sorted(unseen))
            raise UserError(f"class {labels} is in {name} but not in train ({task.dataset})")
    if len(train) < 2:  # Though a dataset may name more.
        only = names[train.pop()]
        raise UserError(f"{task.dataset} has one class ({only!r}): at least 2 are needed")
