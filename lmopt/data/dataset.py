"""Build the task's data: read, chunk, deduplicate and split by document."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmopt.config.task import TaskConfig
from lmopt.data.chunking import chunk_rows
from lmopt.data.duplicates import drop_repeats, find_repeats
from lmopt.data.labels import Label, class_names
from lmopt.data.report import DataReport, Reading, make_report, read_report, write_report
from lmopt.data.rows import Source
from lmopt.data.sources import read_rows
from lmopt.data.splits import SPLITS, refuse_shared_groups, split_tables
from lmopt.data.tokens import Ints
from lmopt.errors import UserError
from lmopt.hashing import content_hash

VERSION = 1


class Split(NamedTuple):
    """Examples of one split: texts (n), labels (n,) and document numbers (n,)."""

    texts: list[str]
    labels: Ints
    groups: Ints


@dataclass(frozen=True)
class Data:
    """A task's data; `key` is the hash of its content, `report` says how it came about."""

    label_names: list[str]
    splits: dict[str, Split]
    key: str
    report: DataReport | None = None


def build_data(task: TaskConfig, folder: Path) -> None:
    """Read, chunk, deduplicate and split the task's data into `folder`.

    Raises:
        ValueError: The data cannot be used; one line with the remedy.
    """
    source = read_rows(task)
    tables = source.rows
    if task.chunk_min_words is not None:
        tables = {name: chunk_rows(rows, task.chunk_min_words) for name, rows in tables.items()}
    names, index = _classes(source)
    shown = {label: names[i] for label, i in index.items()}
    repeats, conflicts = find_repeats(tables)
    used = drop_repeats(tables, repeats)
    splits = split_tables(used, task.split, task.seed, shown)
    if task.group_column is not None and not task.split.allow_shared_groups:
        refuse_shared_groups(splits, task.group_column)
    documents: dict[str, int] = {}
    content: dict[str, Any] = {"label_names": names}
    for name in SPLITS:
        rows = splits[name]
        content[name] = {
            "texts": rows.texts,
            "labels": [index[label] for label in rows.labels],
            "groups": [documents.setdefault(group, len(documents)) for group in rows.groups],
        }
    _check(content, task, source.hidden)
    content["key"] = content_hash(content)
    (folder / "data.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    write_report(make_report(Reading(source, tables, repeats, conflicts), splits, shown), folder)


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
    return Data(content["label_names"], splits, content["key"], read_report(folder))


def _classes(source: Source) -> tuple[list[str], dict[Label, int]]:
    """Return the names of the classes and the index of each label."""
    if source.label_names is not None:
        return source.label_names, {i: i for i in range(len(source.label_names))}
    return class_names(label for rows in source.rows.values() for label in rows.labels)


def _check(content: dict[str, Any], task: TaskConfig, hidden: Mapping[str, int]) -> None:
    names = content["label_names"]
    train = set(content["train"]["labels"])
    for name in SPLITS:
        if not content[name]["texts"]:
            why = f" (its {hidden[name]} labels are hidden)" if hidden.get(name) else ""
            raise UserError(
                f"the {name} split of {task.dataset} is empty{why}: add labelled examples, or "
                "leave the split out"
            )
        unseen = set(content[name]["labels"]) - train
        if unseen:
            labels = ", ".join(repr(names[i]) for i in sorted(unseen))
            raise UserError(f"class {labels} is in {name} but not in train ({task.dataset})")
    if len(train) < 2:  # Though a dataset may name more.
        only = names[train.pop()]
        raise UserError(f"{task.dataset} has one class ({only!r}): at least 2 are needed")
