"""The tables of a report: the methods one by one, and the front.

Tables are frames of plain numbers named as the rows' columns are; `format_table` renders them.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.rows.recipes import effective_parameters
from analysis.rows.records import plain_records, records
from analysis.rows.schema import BATCHES
from analysis.rows.seeds import mean_of_seeds
from analysis.rows.table import final_attempts
from analysis.rows.units import display_of, format_value
from analysis.selection.fronts import front_rows
from analysis.selection.objectives import candidates
from analysis.selection.processors import is_timed, timed_on
from analysis.selection.recommendation import best_combination

BEST = "best combination"
NOTE = (
    "Chosen on validation, reported on test. ± is one standard error, clustered by document; the "
    "drop is against the teacher's fp32 artifact in pairs, positive is worse; speed is against it "
    "in the same runtime, timed in turn."
)
WIDE = 1.5  # A speed is rough where its interval ends so many times as high as it begins.
_ERRORS = {"accuracy_test": "accuracy_test_se", "accuracy_drop_test": "accuracy_drop_test_se"}
_SPEEDS = [f"speedup_{batch}{end}" for batch in BATCHES for end in ("", "_low", "_high", "_vs_16")]
NUMBERS = [
    *("size_bytes", "size_share", "accuracy_validation"),
    *(name for pair in _ERRORS.items() for name in pair),
    *_SPEEDS,
]
_SHOWN = {  # column -> header; the others are for machines
    "pick": "pick",
    "method": "method",
    "methods": "methods",
    "trial": "trial",
    "seeds": "seeds",
    "settings": "settings",
    "models": "tried",
    "processor": "processor",
    "size_bytes": "MB",
    "claimed_size_share": "claimed size",
    "size_share": "size",
    "accuracy_test": "accuracy, %",
    "accuracy_drop_test": "drop, points",
    "claimed_speedup": "claimed speed",
    **{f"speedup_{batch}": f"speed {batch}" for batch in BATCHES},
    "rule": "chosen as",
    "finding": "finding",
}


def method_table(rows: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """What each method gives: baseline, each alone, the linear model, the best combination found.

    Args:
        rows: attempts as `read_rows` gives them.
        objectives: column -> "maximize" or "minimize"; the combination is chosen on them.

    Returns:
        One row per method: `method`, `trial`, `seeds` (where a reference point was trained with
        several: their mean, under the first one's name and trial), `size_bytes`, `size_share` (of
        the baseline), test accuracy and drop with standard errors, speed-ups with intervals, `note`
        (why a reference point failed, by which rule the combination was chosen).
    """
    final = final_attempts(rows)
    references = final[final["kind"].eq("reference")].sort_values("trial")
    is_baseline = references["method"].eq("baseline")
    others = mean_of_seeds(references[~is_baseline], [*NUMBERS, "size_ratio"])
    best, rule = best_combination(rows, objectives)
    parts = {
        "baseline": references[is_baseline],
        "reference": others,
        "linear": final[final["kind"].eq("linear")],
        "best": best.assign(method=BEST, error=f"trial {_trial(best)}: {rule}"),
    }
    table = pd.concat([part for part in parts.values() if len(part)] or [references])
    table = with_share(table, rows).rename(columns={"error": "note"})
    seeds = ["seeds"] if others["seeds"].gt(1).any() else []
    return table[["method", "trial", *seeds, *NUMBERS, "note"]].reset_index(drop=True)


def front_table(
    rows: pd.DataFrame, objectives: Mapping[str, str], among: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The front's points, best in quality first: numbers as in `method_table`, and parameters.

    A parameter without effect beside the others (bits of a codebook) is left blank. Objectives are
    columns too, whichever they are; with `among` it is the front of these rows.
    """
    front = with_share(front_rows(rows if among is None else among, objectives), rows)
    front = effective_parameters(front)
    params = [
        name for name in front if str(name).startswith("param_") and front[name].notna().any()
    ]
    front = front.assign(processor=timed_on(front))
    where = ["processor"] if is_timed(objectives) and front["processor"].nunique() > 1 else []
    front["speed_rough"] = pd.Series([why_rough(row) for row in records(front)], front.index, str)
    names = dict.fromkeys(
        ["trial", "method", *where, *params, *NUMBERS, *objectives, "speed_rough"]
    )
    return front[list(names)].reset_index(drop=True)


def why_rough(row: Mapping[str, Any]) -> str | None:
    """Why a completed model's speed-ups are not to be relied on; None: nothing does."""
    ends = [[row.get(f"speedup_{batch}_{end}") for end in ("low", "high")] for batch in BATCHES]
    known = [(low, high) for low, high in ends if not (pd.isna(low) or pd.isna(high))]
    reasons = {
        "not timed alone, other trials may have run": not _holds(row.get("timed_alone")),
        "timing noisy to the end": _holds(row.get("timing_noisy")),
        "wide interval": any(high >= WIDE * low for low, high in known),
    }
    said = [reason for reason, holds in reasons.items() if holds]
    return "; ".join(said) if known and said else None


def _holds(flag: Any) -> bool:
    return bool(pd.notna(flag) and flag)


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """A table of numbers as text for people: "4.0 %", "87.9 ± 0.5", "9.7×", "–" for none."""
    return format_cells(table).rename(columns=lambda name: header_of(name, table))


def format_cells(table: pd.DataFrame) -> pd.DataFrame:
    """As `format_table`, by the columns' own names.

    A number has its standard error beside it where the table has that error's column.
    """
    names = [str(n) for n in table if n in _SHOWN or str(n).startswith("param_")]
    rows = plain_records(table)
    return pd.DataFrame({name: [_cell(name, row) for row in rows] for name in names})


def header_of(name: str, rows: pd.DataFrame | None = None) -> str:
    """Return the header of a column in a table for people, with the unit its cells leave out."""
    return _SHOWN.get(name, display_of(name, rows).label)


def _cell(name: str, row: Mapping[str, object]) -> str:
    if name == "methods":
        return " + ".join(row[name]) or "none"  # type: ignore[arg-type]
    text = format_value(name, row[name], row.get(_ERRORS.get(name, "")))
    return text.removesuffix(" %") if name == "accuracy_test" else text


def with_share(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The table with `size_share`: bytes over the baseline's, as weighed beside each, else here."""
    models = candidates(rows)
    baseline = models.loc[models["method"].eq("baseline"), "size_bytes"]
    size = float(baseline.iloc[0]) if len(baseline) else float("nan")
    share = table["size_bytes"].astype("Float64").astype(float) / size
    if not len(baseline) and "size_ratio" in table:
        share = 1 / table["size_ratio"].astype("Float64").astype(float)
    return table.assign(size_share=share)


def _trial(best: pd.DataFrame) -> object:
    return best["trial"].iloc[0] if len(best) else None
