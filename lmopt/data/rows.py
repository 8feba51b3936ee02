"""From tables to examples: one text, one label and one document for each row."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from lmopt.config.task import TaskConfig
from lmopt.data.labels import HIDDEN, Label, is_blank, is_missing, read_labels, suspected_scale
from lmopt.data.tables import Table, places
from lmopt.errors import UserError

# Half of an emoji's two escapes in json, left by a program that cut the text: no UTF-8 has it.
HALF_A_PAIR = re.compile(r"[\ud800-\udfff]")
Tables = Mapping[str, Sequence[Table]]
"""The tables of each split: one, or one for each shard."""


class Rows(NamedTuple):
    """Raw examples: three lists of one length. Equal groups belong to one document."""

    texts: list[str]
    labels: list[Label]
    groups: list[str]


@dataclass(frozen=True)
class Source:
    """The rows of each split, or of "all" where the data has no splits.

    `label_names` are the classes that the data declares (then labels are indices), else None.
    `hidden` counts the rows that were left out because their declared label is hidden, `ungrouped`
    those without a document, by split. `notes` are other things to say about the data.
    """

    rows: dict[str, Rows]
    label_names: list[str] | None = None
    hidden: Mapping[str, int] = field(default_factory=dict)
    ungrouped: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()


def make_source(tables: Tables, task: TaskConfig, notes: Sequence[str]) -> Source:
    """Turn the tables of each split into rows.

    Raises:
        ValueError: Empty texts, missing labels, or anything but one class for one text; all faults
            of a kind in one line.
    """
    everything = [table for parts in tables.values() for table in parts]
    texts = [_texts(table, task.text_column) for table in everything]
    _refuse_empty(everything, task)
    _refuse_constant(_joined(texts), task)
    names = _declared(everything, task.label_column)
    labels = [
        [_index(label, names, table) for label in part]
        for table, part in zip(everything, read_labels(everything, task.label_column), strict=True)
    ]
    rows, hidden, ungrouped = {}, {}, {}
    read = zip(texts, labels, strict=True)
    for split, parts in tables.items():
        own_texts, own_labels = map(_joined, zip(*islice(read, len(parts)), strict=True))
        groups, ungrouped[split] = _groups(parts, task.group_column, split)
        kept = [i for i, label in enumerate(own_labels) if names is None or label != HIDDEN]
        hidden[split] = len(own_labels) - len(kept)
        rows[split] = select(Rows(own_texts, own_labels, groups), kept)
    scale = suspected_scale(label for part in rows.values() for label in part.labels)
    if names is None and scale is not None:
        notes = [*notes, scale]
    return Source(rows, names, hidden, ungrouped, notes)


def _joined(parts: Sequence[Sequence[Any]]) -> list[Any]:
    return [value for part in parts for value in part]


def select(rows: Rows, indices: Sequence[int]) -> Rows:
    """Return these examples alone."""
    return Rows(*([column[i] for i in indices] for column in rows))  # type: ignore[arg-type]


def _texts(table: Table, column: str) -> list[str]:
    """Return the texts of a table; numbers become text.

    Raises:
        ValueError: Texts that are lists or records.
    """
    texts = table.columns[column]
    for row, text in enumerate(texts):
        if isinstance(text, list | dict):
            kind = "lists (tagging of words)" if isinstance(text, list) else "records"
            raise UserError(
                f"texts are {kind} in {places(table, [row])}: not supported yet; name a column "
                "with one text in each row (task.text_column)"
            )
    plain = (str(text) if isinstance(text, int | float) else text for text in texts)
    return [HALF_A_PAIR.sub("\ufffd", text) if isinstance(text, str) else text for text in plain]


def _refuse_empty(tables: Sequence[Table], task: TaskConfig) -> None:
    faults = []
    for fault, column, is_faulty in (
        ("empty text", task.text_column, is_blank),
        ("missing label", task.label_column, is_missing),
    ):
        rows = [
            [i for i, v in enumerate(table.columns[column]) if is_faulty(v)] for table in tables
        ]
        found = [places(*pair) for pair in zip(tables, rows, strict=True) if pair[1]]
        if found:
            faults.append(f"{fault} in {', '.join(found)}")
    if faults:
        raise UserError(f"{'; '.join(faults)}: fill or drop them")


def _refuse_constant(texts: Sequence[str], task: TaskConfig) -> None:
    if len(texts) > 1 and len(set(texts)) == 1:
        raise UserError(
            f"all {len(texts)} texts are {texts[0][:40]!r}: name another column "
            f"(task.text_column, got {task.text_column!r})"
        )


def _declared(tables: Sequence[Table], column: str) -> list[str] | None:
    """Return the class names that the tables declare; None if they declare none."""
    declared = [table for table in tables if column in table.classes]
    for table in declared[1:]:
        if table.classes[column] != declared[0].classes[column]:
            raise UserError(
                f"{declared[0].name} and {table.name} declare different classes for {column!r}: "
                "declare the same ones in the same order"
            )
    return list(declared[0].classes[column]) if declared else None


def _index(label: Label, names: list[str] | None, table: Table) -> Label:
    """Return a label as it is, or the index of its declared class."""
    if names is None:
        return label
    if isinstance(label, int) and HIDDEN <= label < len(names):
        return label
    if label in names:
        return names.index(str(label))
    raise UserError(f"label {label!r} of {table.name} is no declared class: {', '.join(names)}")


def _groups(tables: Sequence[Table], column: str | None, split: str) -> tuple[list[str], int]:
    """Return the document of each row of a split, and how many rows have none.

    A row without one is a document of its own.
    """
    values: list[Any] = [None] * sum(len(table.numbers) for table in tables)
    if column is not None:
        values = [value for table in tables for value in table.columns[column]]
    missing = [is_missing(value) for value in values]
    names = [
        f"{split}/{i}" if nothing else f"{value}"
        for i, (value, nothing) in enumerate(zip(values, missing, strict=True))
    ]
    if column is not None:  # A document may be called as a row is.
        names = [
            f"\0{name}" if nothing else name for name, nothing in zip(names, missing, strict=True)
        ]
    return names, sum(missing) if column is not None else 0
