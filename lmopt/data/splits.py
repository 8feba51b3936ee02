"""Make train, validation and test of what a data set brings, whole documents in one split."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations

import numpy as np

from lmopt.config.task import SplitConfig
from lmopt.data.labels import Label
from lmopt.data.rows import Rows, select
from lmopt.data.shards import some
from lmopt.errors import UserError

SPLITS = ("train", "validation", "test")


def split_tables(
    tables: Mapping[str, Rows],
    fractions: SplitConfig,
    seed: int,
    names: Mapping[Label, str] | None = None,
) -> dict[str, Rows]:
    """Make train, validation and test: own splits are kept, missing ones carved by document.

    `names` are those of the labels, for messages.

    Raises:
        ValueError: Classes with fewer documents than splits.
    """
    source = carved_from(tables)
    missing = [name for name in SPLITS if name not in tables or name == source]
    shares = {name: getattr(fractions, name) for name in {"train": 0, **dict.fromkeys(missing)}}
    carved = split_documents(tables[source], shares, seed, names)
    return {name: carved[name] if name in carved else tables[name] for name in SPLITS}


def carved_from(tables: Mapping[str, Rows]) -> str:
    """Return the table that missing splits are carved from."""
    return "all" if "all" in tables else "train"


def split_documents(
    rows: Rows,
    shares: dict[str, float],
    seed: int,
    names: Mapping[Label, str] | None = None,
) -> dict[str, Rows]:
    """Split by document, stratified by label, with about `shares` of the documents of each class.

    Raises:
        ValueError: Classes with fewer documents than splits, all in one line.
    """
    if len(shares) == 1:
        return dict.fromkeys(shares, rows)
    classes: dict[Label, dict[str, None]] = defaultdict(dict)
    label_of: dict[str, Label] = {}
    for label, group in zip(rows.labels, rows.groups, strict=True):
        classes[label_of.setdefault(group, label)][group] = None
    _refuse_rare({(names or {}).get(k, k): len(v) for k, v in classes.items()}, len(shares))
    rng = np.random.default_rng(seed)
    split_of: dict[str, str] = {}
    for label in sorted(classes, key=str):
        documents = list(classes[label])
        rng.shuffle(documents)
        for name, count in _counts(len(documents), shares).items():
            split_of |= dict.fromkeys(documents[:count], name)
            documents = documents[count:]
    return {
        name: select(rows, [i for i, group in enumerate(rows.groups) if split_of[group] == name])
        for name in shares
    }


def refuse_shared_groups(splits: Mapping[str, Rows], column: str) -> None:
    """Refuse splits of the data's own that have documents in common.

    Raises:
        ValueError: How many documents are shared by which splits, and the remedy.
    """
    for name, other in combinations(SPLITS, 2):
        groups, own = set(splits[name].groups), dict.fromkeys(splits[other].groups)
        if shared := [group for group in own if group in groups]:
            raise UserError(
                f"{len(shared)} of {len(own)} documents ({column}) of {other} are in {name} too "
                f"({some(shared)}): texts of one document are right or wrong together; split by "
                "document, or accept it with task.split.allow_shared_groups: true"
            )


def _refuse_rare(documents: Mapping[Label, int], splits: int) -> None:
    rare = {label: count for label, count in documents.items() if count < splits}
    if not rare:
        return
    told = [f"{label!r} ({count})" for label, count in sorted(rare.items(), key=str)]
    raise UserError(
        f"each of {splits} splits needs a document of each class; classes with fewer documents: "
        f"{some(told)}; add examples or remove the classes"
    )


def _counts(documents: int, shares: dict[str, float]) -> dict[str, int]:
    """Round shares to whole documents, at least one each."""
    total = sum(shares.values())
    counts = {name: max(1, round(documents * share / total)) for name, share in shares.items()}
    largest = max(counts, key=lambda name: counts[name])
    counts[largest] += documents - sum(counts.values())
    return counts
