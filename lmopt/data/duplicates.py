"""Equal texts: which row goes, which stays, and where their labels differ."""

from collections.abc import Mapping
from typing import NamedTuple

from lmopt.data.rows import Rows, select

HELD_OUT = ("test", "validation")
ORDER = ("all", *HELD_OUT, "train")  # Of a text that is in two splits, the training copy goes.


class Repeats(NamedTuple):
    """What is known of each row (n) of a split.

    `again`: an earlier row of the split has the text. `copied`: a held-out split has it.
    `differs`: the first row with the text has another label.
    """

    again: list[bool]
    copied: list[bool]
    differs: list[bool]


class Conflict(NamedTuple):
    """A text with two labels."""

    text: str
    labels: tuple[str | int, str | int]


def find_repeats(
    tables: Mapping[str, Rows],
) -> tuple[dict[str, Repeats], list[Conflict]]:
    """Find equal texts within and across the splits of a data set, held-out splits first."""
    first: dict[str, tuple[str, str | int]] = {}
    found: dict[str, Repeats] = {}
    conflicts: dict[str, Conflict] = {}
    for name in (name for name in ORDER if name in tables):
        found[name] = Repeats([], [], [])
        own: set[str] = set()
        for text, label in zip(tables[name].texts, tables[name].labels, strict=True):
            where, told = first.setdefault(text, (name, label))
            found[name].again.append(text in own)
            found[name].copied.append(where != name)
            found[name].differs.append(told != label)
            own.add(text)
            if told != label:
                conflicts.setdefault(text, Conflict(text, (told, label)))
    return found, list(conflicts.values())


def drop_repeats(tables: Mapping[str, Rows], repeats: Mapping[str, Repeats]) -> dict[str, Rows]:
    """Keep the first of equal texts, and every row of a held-out split of the data's own.

    A given test split is what others are measured on; without some rows it would be another one.
    """
    return {
        name: rows if name in HELD_OUT else select(rows, _first(repeats[name]))
        for name, rows in tables.items()
    }


def _first(repeats: Repeats) -> list[int]:
    pairs = zip(repeats.again, repeats.copied, strict=True)
    return [i for i, (again, copied) in enumerate(pairs) if not again and not copied]
