"""Processor types: timings of different types never dominate each other."""

from collections.abc import Mapping

import pandas as pd

from analysis.selection.objectives import candidates


def is_timed(objectives: Mapping[str, str]) -> bool:
    """Whether an objective is a time or a ratio of times: one processor's then."""
    return any(name.startswith(("speedup_", "latency_")) for name in objectives)


def timed_on(rows: pd.DataFrame) -> pd.Series:
    """The processor type of each row's timings, which may not be that of its accuracy."""
    if "processor_timed" not in rows:  # compacted before there was such a column
        return rows["processor"]
    return rows["processor_timed"].where(rows["processor_timed"].notna(), rows["processor"])


def timed_processor(row: Mapping[str, object]) -> object:
    """As `timed_on`, of one row; None where nobody knows."""
    names = [row.get(name) for name in ("processor_timed", "processor")]
    return next((name for name in names if isinstance(name, str)), None)


def processors(rows: pd.DataFrame) -> list[str]:
    """The processor types that count, the one with most models first.

    Once models were timed alone, which is done to a front and on the processor that it is meant
    for, only such types count: timings that were taken in passing elsewhere were for the search.
    """
    models = candidates(rows)
    alone, names = models["timed_alone"].fillna(False).astype(bool), timed_on(models)
    counted = names[alone] if names[alone].notna().any() else names
    return [str(name) for name in counted.dropna().value_counts().index]


def main_processor(rows: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """The rows without what was timed on another processor type than the one with most models."""
    names = timed_on(rows)
    if not is_timed(objectives) or names.nunique() < 2:
        return rows
    timed_here = names.isna() | names.eq(processors(rows)[0])
    return rows[timed_here | rows["kind"].eq("linear")]
