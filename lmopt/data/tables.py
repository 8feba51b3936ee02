"""A table as it is written: the columns that were asked for, and where each row is in its file."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from lmopt.config.task import FileFormat
from lmopt.errors import UserError

SHOWN = 5  # Places that a message names before it only counts them.
# Columns that hold the two texts of a pair in well-known data sets.
PAIRS = (
    ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
)


class Request(NamedTuple):
    """What to read of a file: columns with the fields that name them, and how it is written.

    `section` is the part of the definition that the fields are in (task, task.unlabelled).
    """

    columns: Mapping[str, str]
    form: FileFormat
    section: str


class Table(NamedTuple):
    """Some columns of one file or split.

    `numbers` (n,) count rows as a reader of the file does, from 1, in `unit`: lines of a text file,
    whose header is line 1; rows elsewhere. If not `typed`, all values are the text that is written.
    `classes` holds the names of a column's declared classes, by column.
    """

    name: str
    unit: str
    numbers: Sequence[int]
    columns: Mapping[str, list[Any]]
    typed: bool = True
    classes: Mapping[str, list[str]] = {}


def check_columns(there: Sequence[str], request: Request, name: str) -> None:
    """Refuse a table without the columns that are asked for, or with the second text of a pair.

    Raises:
        ValueError: The column, the field that asks for it, and the columns that there are.
    """
    for column, field in request.columns.items():
        if column not in there:
            raise UserError(f"no column {column!r} ({field}) in {name}: it has {', '.join(there)}")
        for first, second in PAIRS:
            if field == "task.text_column" and column == first and second in there:
                raise UserError(
                    f"{name} has two text columns, {first!r} and {second!r}: pairs of texts are "
                    f"not supported yet; join them into one column, or drop or rename {second!r} "
                    f"if {first!r} alone is the text"
                )


def places(table: Table, rows: Iterable[int]) -> str:
    """Say where rows (indices) are in their file: `lines 3, 8 and 40 more of train.csv`."""
    rows = list(rows)
    shown = ", ".join(str(table.numbers[row]) for row in islice(rows, SHOWN))
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return f"{table.unit}{'s' if len(rows) > 1 else ''} {shown}{more} of {table.name}"
