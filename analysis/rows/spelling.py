"""The name that somebody meant: a mistyped, shortened or decorated one of the known names."""

from collections.abc import Iterable

_SHORTEST_START = 3  # letters; fewer are the start of many names
_LETTERS_PER_SLIP = 4  # so many letters of a name may hold one slip


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was surely meant; None where that is a guess.

    It begins as the name does (`size` for `size_bytes`), or differs by few slips of the finger
    (`temprature`), or is a whole word of the name (`n_layers` for `layers`). No suggestion is
    better than a wrong one.
    """
    asked = _plain(name)
    names = {_plain(one): one for one in known}
    starts = [one for one in names if one.startswith(asked)]
    if len(asked) >= _SHORTEST_START and starts:
        return names[min(starts, key=len)]
    slips = {one: edit_distance(asked, one) for one in names}
    close = [one for one in names if slips[one] <= len(asked) // _LETTERS_PER_SLIP]
    if close:
        return names[min(close, key=lambda one: slips[one])]
    inside = [one for one in names if f"_{one}_" in f"_{asked}_"]
    return names[max(inside, key=len)] if inside else None


def edit_distance(a: str, b: str) -> int:
    """Return how many letters were left out, added, changed or swapped with the next one.

    Source: Damerau (1964), Communications of the ACM 7(3); optimal string alignment.
    """
    before, row = list[int](), list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        earlier, before, row = before, row, [i]
        for j, other in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
    return row[-1]


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")
