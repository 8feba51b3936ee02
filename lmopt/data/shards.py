"""Which files of a folder are which split, and in which order."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lmopt.errors import UserError
from lmopt.locations import FORMATS, stem_of, suffix_of

SPLIT_NAMES = {"train": "train", "validation": "validation", "dev": "validation", "test": "test"}
NO_DATA = {"dataset_infos.json"}  # It looks like a table and tells about one.
SHOWN = 5  # Names that a message lists before it only counts them.
# `train-00000-of-00002`, as the hub writes it, with or without a hash behind it.
SHARD = re.compile(r"([^-]*)(?:-(\d+)(?:-of-(\d+))?)?(?:-.*)?", re.DOTALL)


class Shard(NamedTuple):
    """What a file's name says: its split, and the shard's number of so many; None: no shard."""

    split: str
    number: int | None
    of: int | None
    suffix: str


def data_files(path: Path) -> list[Path]:
    """Return a file, or the data files of a folder in the order of their names.

    Raises:
        ValueError: There are none.
    """
    files = [path] if path.is_file() and suffix_of(path) in FORMATS else files_in(path)
    if not files:
        raise UserError(
            f"no data in {path}: expected a folder saved by datasets, <class>/*.txt, "
            f"or {', '.join(FORMATS)} files (or one of these as .gz or alone in a .zip)"
        )
    return files


def files_in(folder: Path) -> list[Path]:
    """Return the data files that lie in a folder; none if it is no folder."""
    if not folder.is_dir():
        return []
    files = (p for p in folder.iterdir() if suffix_of(p) in FORMATS and p.name not in NO_DATA)
    return sorted(p for p in files if not p.name.startswith("."))


def files_by_split(path: Path) -> dict[str, list[Path]]:
    """Return the files of each split, its shards in order, or of "all" if there is one name.

    Raises:
        ValueError: A name that is no split, two files for one split, a missing shard.
    """
    files = data_files(path)
    if path.is_file():
        return {"all": files}
    named: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        name = shard_of(file).split
        named[SPLIT_NAMES.get(name, name)].append(file)
    for name in (name for name in named if name not in SPLIT_NAMES):
        if len(named) > 1 or (len(files) > 1 and any(shard_of(f).number is None for f in files)):
            raise UserError(
                f"{named[name][0].name} is no split: call the files train, validation and test"
            )
    found = {name: _in_order(name, parts) for name, parts in named.items()}
    return {"all": next(iter(found.values()))} if len(found) == 1 else found


def shard_of(file: Path) -> Shard:
    """Read a file's name."""
    match = SHARD.fullmatch(stem_of(file))
    assert match is not None  # Every part of the pattern may be empty.
    split, number, count = match.groups()
    return Shard(
        split.lower(),
        None if number is None else int(number),
        None if count is None else int(count),
        suffix_of(file),
    )


def some(names: Sequence[str]) -> str:
    """List names, the first few of many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _in_order(split: str, files: Sequence[Path]) -> list[Path]:
    """Return the files of one split by their numbers; each must be there once."""
    shards = [shard_of(file) for file in files]
    if len(files) == 1 and shards[0].of is None:
        return list(files)
    numbers = [-1 if shard.number is None else shard.number for shard in shards]
    expected = _expected(numbers, shards[0].of)
    kinds = {shard._replace(number=0) for shard in shards}
    if len(kinds) > 1 or len(set(numbers)) < len(numbers) or not set(numbers) <= expected:
        raise UserError(
            f"{len(files)} files for the {split} split: {some([file.name for file in files])}; "
            "keep one, or the shards of one (train-00000-of-00002 and so on)"
        )
    if missing := sorted(expected - set(numbers)):
        raise UserError(
            f"{len(missing)} of {len(expected)} shards of the {split} split are missing beside "
            f"{files[0].name} (number {missing[0]}, counted from {min(expected)}): copy them too"
        )
    return [file for _, file in sorted(zip(numbers, files, strict=True))]


def _expected(numbers: Iterable[int], count: int | None) -> set[int]:
    """Return the numbers that the shards of one split have; they may start with 0 or 1."""
    present = set(numbers)
    if count is None:
        return set(range(min(present), max(present) + 1)) if min(present) >= 0 else set()
    first = 0 if 0 in present or count not in present else 1
    return set(range(first, first + count))
