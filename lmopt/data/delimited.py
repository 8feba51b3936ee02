"""Read csv files as people have them: any separator, quotes, blanks, lines of any end.

The standard library's reader is used, strict: it has no idea of types, so that a label stays the
text that it is, and it tells a broken line by its number. pandas (and `datasets`, which calls it)
guesses types in blocks, takes the first column for an index where rows are longer than the header,
and cuts or fills rows in silence.
"""

import contextlib
import csv
import io
import re
from collections.abc import Iterator
from typing import NamedTuple

from lmopt.data.tables import Request, Table, check_columns
from lmopt.errors import UserError

SEPARATORS = (",", ";", "\t", "|")
QUOTED_AFTER_BLANK = re.compile(r'\s+"')


class Dialect(NamedTuple):
    """How a csv file is written; `blank`: a blank follows each separator and is no content."""

    separator: str
    quoting: str
    blank: bool


class File(NamedTuple):
    """The text of a csv file, its name for messages, and what is asked of it."""

    text: str
    name: str
    request: Request


class Malformed(ValueError):
    """A file that cannot be of this dialect; the message names the line and the remedy."""


def read_delimited(text: str, name: str, request: Request, usual: str) -> Table:
    """Read the columns asked for from the text of a csv file.

    A dialect is taken if its header has these columns and no row is longer than the header:
    `usual` separator first. `request.form` may name it.

    Raises:
        ValueError: No dialect fits, or a column is missing; one line with the remedy.
    """
    file, form = File(text, name, request), request.form
    faults, unreadable, headers = [], [], []
    for separator in dict.fromkeys([form.separator] if form.separator else [usual, *SEPARATORS]):
        dialect = Dialect(separator, form.quoting or "doubled", blank=False)
        try:
            header, blank = _header(file, dialect)
        except Malformed as fault:
            unreadable.append(fault)
            continue
        headers.append(header)
        if set(request.columns) <= set(header):
            try:
                return _best(file, dialect._replace(blank=blank))
            except Malformed as fault:
                faults.append(fault)
    if not faults and any(headers):
        check_columns(max(headers, key=len), request, name)
    empty = ValueError(f"{name} is empty: it needs a header and rows")
    raise [*faults, *unreadable, empty][0]


def _best(file: File, dialect: Dialect) -> Table:
    """Read a file; without the blanks after separators if quoted texts come after blanks.

    These are known by the quotes that are left in them, ` "text"`: a text that has such a beginning
    of its own keeps it, because the quotes around it are where they must be.
    """
    if dialect.blank or dialect.quoting == "none":
        return _read(file, dialect)
    without = dialect._replace(blank=True)
    try:
        table = _read(file, dialect)
    except Malformed as fault:
        try:
            return _read(file, without)
        except Malformed:
            raise fault from None
    if suspects := _quoted_after_blank(table):
        with contextlib.suppress(Malformed):
            other = _read(file, without)
            return other if _quoted_after_blank(other) < suspects else table
    return table


def _quoted_after_blank(table: Table) -> int:
    values = (value for column in table.columns.values() for value in column)
    return sum(QUOTED_AFTER_BLANK.match(value) is not None for value in values)


def _header(file: File, dialect: Dialect) -> tuple[list[str], bool]:
    """Return the names in the first line, and whether a blank follows each of its separators."""
    _, names = next(_records(file, dialect), (0, []))
    blank = len(names) > 1 and all(name.startswith(" ") for name in names[1:])
    if blank:
        _, names = next(_records(file, dialect._replace(blank=True)))
    stripped = [name.strip() for name in names]
    return [name or f"Unnamed: {i}" for i, name in enumerate(stripped)], blank


def _read(file: File, dialect: Dialect) -> Table:
    name, request = file.name, file.request
    header, _ = _header(file, dialect)
    check_columns(header, request, name)
    if twice := [column for column in request.columns if header.count(column) > 1]:
        raise UserError(f"{name} has two columns {twice[0]!r}: rename one of them")
    positions = {column: header.index(column) for column in request.columns}
    columns: dict[str, list[str]] = {column: [] for column in request.columns}
    numbers = []
    records = _records(file, dialect)
    next(records)
    for line, fields in records:
        if any(field.strip() for field in fields[len(header) :]):
            raise Malformed(
                f"line {line} of {name} has {len(fields)} columns and its header {len(header)}: "
                f"put quotes around texts that hold {dialect.separator!r}, or name the separator "
                f"({request.section}.separator)"
            )
        numbers.append(line)
        for column, position in positions.items():
            columns[column].append(fields[position] if position < len(fields) else "")
    return Table(name, "line", numbers, columns, typed=False)


def _records(file: File, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first line and the fields of each row that is not blank."""
    csv.field_size_limit(max(csv.field_size_limit(), len(file.text)))
    reader = csv.reader(
        io.StringIO(file.text, newline=""),
        delimiter=dialect.separator,
        skipinitialspace=dialect.blank,
        quoting=csv.QUOTE_NONE if dialect.quoting == "none" else csv.QUOTE_MINIMAL,
        doublequote=dialect.quoting == "doubled",
        escapechar="\\" if dialect.quoting == "backslash" else None,
        strict=True,
    )
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise Malformed(
                f"line {line} of {file.name} has a text that begins with a quote and goes on after "
                "the next one: double the quotes inside of quoted texts, or set "
                f"{file.request.section}.quoting to none if quotes are part of the texts, to "
                "backslash if a backslash is before them"
            ) from None
        if any(field.strip() for field in fields):
            yield line, fields
