"""Processor types: timings of different types never dominate each other."""

from collections.abc import Mapping

import pandas as pd

from analysis.selection.objectives import candidates


def is_timed(objectives: Mapping[str, str]) -> bool:
    """Return whether an objective is a time or a ratio of times, which hold for one processor."""
    return any(name.startswith(("speedup_", "latency_")) for name in objectives)


def timed_on(rows: pd.DataFrame) -> pd.Series:
    """Return the processor type of each row's timings; its accuracy may be from another type."""
    if "processor_timed" not in rows:  # compacted before there was such a column
        return rows["processor"]
    return rows["processor_timed"].where(rows["processor_timed"].notna(), rows["processor"])


def timed_processor(row: Mapping[str, object]) -> object:
    """Return the processor type of one row's timings; None if it is unknown."""
    names = [row.get(name) for name in ("processor_timed", "processor")]
    return next((name for name in names if isinstance(name, str)), None)


def processors(rows: pd.DataFrame) -> list[str]:
    """Return the processor types that count, the type with most models first.

    The models of a front are timed alone, on the processor that they are meant for. Once such
    timings exist, only their types count; the other timings only served the search.
    """
    models = candidates(rows)
    alone, names = models["timed_alone"].fillna(False).astype(bool), timed_on(models)
    counted = names[alone] if names[alone].notna().any() else names
    return [str(name) for name in counted.dropna().value_counts().index]


def main_processor(rows: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows without those timed on another processor type than the main one."""
    names = timed_on(rows)
    if not is_timed(objectives) or names.nunique() < 2:
        return rows
    timed_here = names.isna() | names.eq(processors(rows)[0])
    return rows[timed_here | rows["kind"].eq("linear")]
