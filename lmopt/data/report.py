"""What became of the rows of a data set: read, used, dropped, and what to know about them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from lmopt.data.duplicates import HELD_OUT, Conflict, Repeats
from lmopt.data.labels import Label
from lmopt.data.overlap import overlaps
from lmopt.data.rows import Rows, Source
from lmopt.data.splits import SPLITS, carved_from

FILE = "report.json"
SHOWN_LETTERS = 40


class ClassReport(BaseModel):
    """Texts of one class in one split: read, used, and the documents of the used ones."""

    model_config = ConfigDict(frozen=True)

    read: int
    used: int
    documents: int


class SplitReport(ClassReport):
    """The texts of one split.

    `duplicates`: texts that an earlier one of the split equals; they are dropped, but kept in a
    held-out split of the data's own. `copies`: texts that a held-out split has too. `conflicts`:
    duplicates and copies with another label than the first. `near_duplicates`: used texts that
    share a part with the other side: with held-out texts in train, with train in the others.
    """

    duplicates: int = 0
    copies: int = 0
    conflicts: int = 0
    near_duplicates: int = 0
    classes: dict[str, ClassReport] = {}


class DataReport(BaseModel):
    """What became of a data set's rows; `rows` and `hidden` by split as given ("all": none is)."""

    model_config = ConfigDict(frozen=True)

    rows: dict[str, int]
    hidden: dict[str, int] = {}
    splits: dict[str, SplitReport]
    remarks: list[str] = []

    def sentence(self) -> str:
        """Say in one line what there is, and what to know about it."""
        splits = [
            f"{name} {split.used:,} texts of {split.documents:,} documents"
            for name, split in self.splits.items()
        ]
        rows = f"data: {sum(self.rows.values()):,} rows read"
        return "; ".join([f"{rows}: {', '.join(splits)}", *self.remarks])


class Reading(NamedTuple):
    """How a data set was read: its source, the texts cut from the rows, and the equal ones."""

    source: Source
    tables: Mapping[str, Rows]
    repeats: Mapping[str, Repeats]
    conflicts: Sequence[Conflict]


def make_report(
    reading: Reading, splits: Mapping[str, Rows], names: Mapping[Label, str]
) -> DataReport:
    """Count what became of all rows; `names` are those of the labels.

    A text of a table without splits counts where it went, or an equal one.
    """
    source = reading.source
    near = _near_duplicates(splits)
    tallies: Counter[tuple[str, str, Label | None]] = Counter()
    for split, label, marks in _fates(reading, splits):
        tallies["read", split, label] += 1
        tallies.update((mark, split, None) for mark in marks)
    reports = {}
    for name, rows in splits.items():
        classes = _class_reports(rows, {k: tallies["read", name, k] for k in names}, names)
        reports[name] = SplitReport(
            read=sum(report.read for report in classes.values()),
            used=len(rows.texts),
            documents=len(set(rows.groups)),
            **{mark: tallies[mark, name, None] for mark in ("duplicates", "copies", "conflicts")},
            near_duplicates=near[name],
            classes=classes,
        )
    return DataReport(
        rows={n: len(rows.texts) + source.hidden.get(n, 0) for n, rows in source.rows.items()},
        hidden={name: count for name, count in source.hidden.items() if count},
        splits=reports,
        remarks=[*_remarks(reading, reports, names), *source.notes],
    )


def _class_reports(
    rows: Rows, read: Mapping[Label, int], names: Mapping[Label, str]
) -> dict[str, ClassReport]:
    used = Counter(rows.labels)
    documents = Counter(label for label, _ in set(zip(rows.labels, rows.groups, strict=True)))
    return {
        shown: ClassReport(read=read[label], used=used[label], documents=documents[label])
        for label, shown in names.items()
    }


def write_report(report: DataReport, folder: Path) -> None:
    """Write a report beside the data that it is about."""
    (folder / FILE).write_text(report.model_dump_json(indent=1), encoding="utf-8")


def read_report(folder: Path) -> DataReport | None:
    """Read what `write_report` wrote; None if there is none."""
    path = folder / FILE
    if not path.exists():
        return None
    return DataReport.model_validate_json(path.read_text(encoding="utf-8"))


def _fates(reading: Reading, splits: Mapping[str, Rows]) -> Iterator[tuple[str, Label, list[str]]]:
    """Yield the split, the label and the marks (duplicates, copies, conflicts) of each text."""
    source = carved_from(reading.tables)
    carved = [name for name in SPLITS if name not in reading.tables or name == source]
    landed = {text: name for name in carved for text in splits[name].texts}
    for name, rows in reading.tables.items():
        for text, label, again, copied, differs in zip(
            rows.texts, rows.labels, *reading.repeats[name], strict=True
        ):
            marks = ["copies"] if copied else ["duplicates"] if again else []
            marks += ["conflicts"] if differs else []
            yield landed.get(text, "train") if name == source else name, label, marks


def _near_duplicates(splits: Mapping[str, Rows]) -> dict[str, int]:
    """Count the texts of each split that share a part with the other side of training."""
    texts = [text for name in HELD_OUT for text in splits[name].texts]
    train, held_out = overlaps(splits["train"].texts, texts)
    ends = np.cumsum([len(splits[name].texts) for name in HELD_OUT])[:-1]
    counts = {
        name: int(part.sum()) for name, part in zip(HELD_OUT, np.split(held_out, ends), strict=True)
    }
    return counts | {"train": int(train.sum())}


def _remarks(
    reading: Reading, splits: Mapping[str, SplitReport], names: Mapping[Label, str]
) -> Iterator[str]:
    """Say what a user would not see in the numbers of texts alone."""
    given = [name for name in HELD_OUT if name in reading.tables]
    dropped = sum(splits[name].duplicates for name in SPLITS if name not in given)
    if dropped:
        yield f"duplicates dropped: {dropped:,}"
    for name in given:
        if splits[name].duplicates:
            yield f"duplicates kept in the given {name} split: {splits[name].duplicates:,}"
    if splits["train"].copies:
        yield f"training texts dropped that are held out too: {splits['train'].copies:,}"
    if splits["validation"].copies:
        yield f"validation texts that are in test too: {splits['validation'].copies:,}"
    if reading.conflicts:
        text, labels = reading.conflicts[0]
        shown = text if len(text) <= SHOWN_LETTERS else f"{text[: SHOWN_LETTERS - 1]}…"
        yield (
            f"texts with several labels: {len(reading.conflicts):,} ({shown!r} has "
            f"{' and '.join(names[label] for label in labels)}); those of dropped copies are not "
            "used"
        )
    for name, count in reading.source.hidden.items():
        if count:
            yield f"rows of {name} left out because their label is hidden (-1): {count:,}"
    for name, count in reading.source.ungrouped.items():
        if count:
            yield f"rows of {name} without a document, each now one of its own: {count:,}"
    if splits["train"].near_duplicates:
        yield (
            f"training texts that share a part with held-out ones: "
            f"{splits['train'].near_duplicates:,} (and {splits['test'].near_duplicates:,} of "
            f"{splits['test'].used:,} test texts with training texts)"
        )
