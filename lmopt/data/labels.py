"""Labels as classes: read numbers and words alike, refuse what is another kind of task."""

import ast
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from lmopt.data.tables import Table, places
from lmopt.errors import UserError

Label = str | int
HIDDEN = -1  # Written by `datasets` for a declared class that is not published.
MANY_CLASSES = 20  # More whole numbers than these may be a scale.
WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)(\.0+)?")
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
NUMBERS_AS_LIST = re.compile(r"\[[\d\s.,]*\]")


def is_blank(value: object) -> bool:
    """Whether a cell holds nothing: null, blanks, or NaN."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def is_missing(value: object) -> bool:
    """Whether a label or a document is not given: a blank cell, or NaN written as a word."""
    return is_blank(value) or (isinstance(value, str) and value.strip().lower() == "nan")


def read_labels(tables: Sequence[Table], column: str) -> list[list[Label]]:
    """Return the labels of each table: names, or integers where they are whole numbers.

    A label of a csv file is the text that it is, without the blanks around it. Only where all are
    whole numbers (1, or 1.0 as pandas writes them) they are integers, and where all are true or
    false they are named as in other formats. Declared classes stay indices. None may be missing.

    Raises:
        ValueError: Lists, records or ratings; one number that is written in two ways.
    """
    for table in tables:
        _refuse_structures(table, column)
    words = [table for table in tables if not table.typed]
    spelled = _spelled({value.strip() for table in words for value in table.columns[column]})
    typed = {
        value
        for table in tables
        if table.typed and column not in table.classes
        for value in table.columns[column]
    }
    _refuse_ratings({v for v in typed if isinstance(v, float | Decimal)} | _fractions(spelled))
    if any(isinstance(value, str) for value in typed):
        spelled = {text: text for text in spelled}
    labels = [
        [spelled[value.strip()] if not table.typed else _plain(value) for value in values]
        for table in tables
        for values in [table.columns[column]]
    ]
    if not any(column in table.classes for table in tables):
        _refuse_twins({label for part in labels for label in part})
    return labels


def class_names(labels: Iterable[Label]) -> tuple[list[str], dict[Label, int]]:
    """Return the names of all classes and the index of each label: numbers first, in order."""
    ordered = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    return [str(label) for label in ordered], {label: i for i, label in enumerate(ordered)}


def suspected_scale(labels: Iterable[Label]) -> str | None:
    """Say that the classes may be a scale: many whole numbers; None if they are not."""
    values = set(labels)
    numbers = sorted(value for value in values if isinstance(value, int))
    if len(numbers) <= MANY_CLASSES or len(numbers) < len(values):
        return None
    return (
        f"{len(numbers)} classes are whole numbers from {numbers[0]} to {numbers[-1]}: if they are "
        "a scale, their order is not used (regression is not supported yet)"
    )


def _spelled(texts: set[str]) -> Mapping[str, Label]:
    """Return the label of each text of a csv file."""
    if all(text.casefold() in ("true", "false") for text in texts):
        return _refuse_spellings({text: text.capitalize() for text in texts})
    if not all(NUMBER.fullmatch(text) for text in texts):
        return {text: text for text in texts}
    _refuse_spellings({text: Decimal(text.replace(",", ".")) for text in texts})
    if all(WHOLE.fullmatch(text) for text in texts):
        return {text: int(Decimal(text)) for text in texts}
    return {text: text for text in texts}


def _refuse_spellings(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse texts that are one value."""
    texts = defaultdict(list)
    for text in sorted(values):
        texts[values[text]].append(text)
    for same in texts.values():
        if len(same) > 1:
            raise UserError(
                f"labels {' and '.join(map(repr, same))} are one value written in several ways: "
                "write it in one way"
            )
    return values


def _refuse_twins(labels: set[Label]) -> None:
    """Refuse labels whose names differ in type or in blanks only."""
    names: dict[str, Label] = {}
    for label in sorted(labels, key=repr):
        other = names.setdefault(str(label).strip(), label)
        if other != label:
            raise UserError(
                f"labels {other!r} and {label!r} differ in blanks or quotes only: write them alike"
            )


def _plain(value: Any) -> Label:
    """Integers stay integers (1.0 too), everything else is a name."""
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | float | Decimal) and value % 1 == 0:
        return int(value)
    return str(value)


def _fractions(spelled: Mapping[str, Label]) -> set[Decimal]:
    """Return the numbers of a csv file's labels, if all are numbers."""
    if not all(NUMBER.fullmatch(text) for text in spelled):
        return set()
    return {Decimal(text.replace(",", ".")) for text in spelled}


def _refuse_ratings(numbers: set[Any]) -> None:
    values = sorted(numbers)
    if any(value % 1 != 0 for value in values):
        shown = ", ".join(f"{value}" for value in values[:4])
        more = ", …" if len(values) > 4 else ""
        raise UserError(
            f"labels are {len(values)} numbers with fractions ({shown}{more}), as of a rating: "
            "regression is not supported yet; to take them for classes write them as words "
            "('stars 1.5')"
        )


def _refuse_structures(table: Table, column: str) -> None:
    """Refuse labels that are no single value: lists, spans, records."""
    for row, value in enumerate(table.columns[column]):
        if isinstance(value, dict) or (isinstance(value, str) and not _is_list(value)):
            kind = "records" if isinstance(value, dict) else None
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            kind = "lists of records (spans, for example)"
        else:
            kind = "lists" if isinstance(value, list | str) else None
        if kind is not None:
            raise UserError(
                f"labels are {kind} ({value} in {places(table, [row])}): several labels of a text, "
                "tags and spans are not supported yet; give each text one label"
            )


def _is_list(text: str) -> bool:
    """Whether a text is a list as Python, json or numpy writes it."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return False
    try:
        return isinstance(ast.literal_eval(text), list)
    except (ValueError, SyntaxError):
        return NUMBERS_AS_LIST.fullmatch(text) is not None
