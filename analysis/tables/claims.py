"""The claim audit: what a pass promises on paper against what was weighed and timed."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.rows.recipes import describe, with_methods
from analysis.rows.records import records
from analysis.rows.schema import BATCHES
from analysis.selection.objectives import candidates
from analysis.selection.processors import main_processor
from analysis.selection.recommendation import best_combination
from analysis.tables.methods_and_front import BEST, with_share

UNCHANGED = 0.02  # a file or a time that differs by less is "unchanged"
_COLUMNS = [
    "methods",
    "trial",
    "settings",
    "claimed_size_share",
    "size_share",
    "claimed_speedup",
    *(f"speedup_{batch}{end}" for batch in BATCHES for end in ("", "_low", "_high")),
    "accuracy_drop_test",
    "accuracy_drop_test_se",
    "finding",
]


def claim_table(rows: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """Claimed and measured size and speed of each pass alone, and of the best combination.

    What is claimed, as papers count: bytes are parameters that are not zero times their bits;
    time is multiply-accumulates that are not zero times bits over 32. Both against the baseline.
    Where the rows hold no multiply-accumulates (`macs`), a pass that changes the shape claims no
    speed.

    Returns:
        One row per pass and setting, `finding` in words; `methods` is a tuple.
    """
    rows = main_processor(rows, objectives)
    models = with_share(with_methods(candidates(rows)), rows)
    baseline = models[models["method"].eq("baseline").fillna(False)].head(1)
    singles = models[models["methods"].map(len).eq(1)].sort_values("trial")
    singles = singles[~singles["settings"].map(describe).duplicated()]
    best, _ = best_combination(rows, objectives)
    combined = models[models["trial"].isin(best["trial"]) & models["methods"].map(len).gt(1)]
    table = pd.concat([singles, combined])
    claims = [_claims(row, baseline) for row in records(table)]
    table = table.assign(
        claimed_size_share=[size for size, _ in claims],
        claimed_speedup=[speed for _, speed in claims],
        settings=table["settings"].map(describe),
    )
    table["finding"] = [_finding(row) for row in records(table)]
    order = sorted(range(len(table)), key=lambda i: (len(table["methods"].iloc[i]), i))
    return table.reindex(columns=_COLUMNS).iloc[order].reset_index(drop=True)


def pass_name(methods: tuple[str, ...]) -> str:
    """A pass by its name, a combination as what it is."""
    return methods[0] if len(methods) == 1 else BEST


def _claims(row: Mapping[str, object], baseline: pd.DataFrame) -> tuple[float, float]:
    """Return the claimed share of the baseline's bytes and the claimed speed-up; NaN: no claim."""
    size = _of_baseline("parameters", row, baseline) * _number(row, "claimed_weight_share")
    work = _of_baseline("macs", row, baseline)
    same = _of_baseline("parameters", row, baseline) == 1
    if np.isnan(work) and same:
        work = 1.0  # the shape is the baseline's
    return size, 1 / (work * _number(row, "claimed_work_share"))


def _of_baseline(name: str, row: Mapping[str, object], baseline: pd.DataFrame) -> float:
    if name not in baseline or baseline.empty:
        return float("nan")
    return _number(row, name) / _number(baseline.iloc[0], name)


def _number(row: Mapping[str, object] | pd.Series, name: str) -> float:
    value = row.get(name)
    return float("nan") if pd.isna(value) else float(value)  # type: ignore[arg-type, call-overload]


def _finding(row: Mapping[str, object]) -> str:
    """E.g. "file unchanged (claimed 50 %), speed 1.0× (claimed 2.0×)"."""
    share, speed = _number(row, "size_share"), _number(row, "speedup_b1")
    size_claim, speed_claim = _number(row, "claimed_size_share"), _number(row, "claimed_speedup")
    text = "file unchanged" if abs(share - 1) < UNCHANGED else f"file {100 * share:.1f} %"
    text += "" if np.isnan(size_claim) else f" (claimed {100 * size_claim:.1f} %)"
    if np.isnan(speed):
        return text
    text += f", speed {speed:.1f}×"
    return text if np.isnan(speed_claim) else f"{text} (claimed {speed_claim:.1f}×)"
