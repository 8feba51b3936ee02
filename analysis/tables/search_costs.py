"""The cost of a search: hypervolume over core-hours, time by stage, failures by cause."""

from collections.abc import Mapping

import pandas as pd

from analysis.rows.table import final_attempts
from analysis.selection.hypervolume import volume_history
from analysis.selection.processors import main_processor

UNATTRIBUTED, NO_RESULT = "between stages", "attempts without a result"


def volume_over_cost(rows: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """Return the hypervolume after each ended attempt, in the order of their ends.

    Returns:
        `core_hours` (of all attempts that ended so far, failed ones included), `hypervolume`, and
        `trial`, `kind`, `state` of the attempt. Idle workers and the prepare job are not in it.
    """
    rows = main_processor(rows, objectives)
    ended = rows[rows["kind"].ne("linear")].sort_values("finished_utc", kind="stable")
    final = final_attempts(ended)[["trial", "attempt"]].assign(counts=True)
    ended = ended.merge(final, how="left", on=["trial", "attempt"])
    counts = ended["counts"].eq(True) & ended["state"].eq("COMPLETE")
    counts &= ended["feasible"].fillna(True).astype(bool)
    history = pd.Series(volume_history(ended[counts], rows, objectives), ended.index[counts])
    return pd.DataFrame(
        {
            "core_hours": ended["core_seconds"].astype("Float64").fillna(0).cumsum() / 3600,
            "hypervolume": history.reindex(ended.index).ffill().fillna(0.0),
            "trial": ended["trial"],
            "kind": ended["kind"],
            "state": ended["state"],
        }
    )


def stage_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the wall time of all attempts by stage, the costliest first.

    Returns:
        `stage`, `seconds`, `share` of all, `ran` and `loaded` (attempts that computed the stage,
        and attempts that found it in the cache). The time of finished attempts outside their
        stages and the time of attempts without a result are rows of their own.
    """
    rows = rows[rows["kind"].ne("linear")]
    done = rows[rows["state"].eq("COMPLETE")]
    names = [str(name) for name in rows if str(name).startswith("seconds_")]
    stages = {
        name.removeprefix("seconds_"): done[name].astype(float)
        for name in names
        if name != "seconds_total" and done[name].notna().any()
    }
    known = pd.DataFrame(stages).sum(axis=1) if stages else pd.Series(0.0, done.index)
    rest = (done["seconds_total"].astype(float) - known).clip(lower=0)
    lost = rows.loc[~rows["state"].eq("COMPLETE"), "seconds_total"].astype(float)
    cached = done["stages_cached"].explode().value_counts()
    parts = {**stages, UNATTRIBUTED: rest, NO_RESULT: lost}
    table = pd.DataFrame(
        [
            {
                "stage": stage,
                "seconds": float(seconds.sum()),
                "ran": int(seconds.notna().sum()),
                "loaded": int(cached.get(stage, 0)),
            }
            for stage, seconds in parts.items()
        ]
    )
    table = table[table["seconds"] > 0].sort_values("seconds", ascending=False, kind="stable")
    table.insert(2, "share", table["seconds"] / table["seconds"].sum())
    return table.reset_index(drop=True)


def failure_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the attempts without a result by state and cause, the most frequent first.

    Returns:
        `state`, `cause` (the error's text before its first colon), `attempts`, `trials`,
        `never_completed` (of these trials), `core_hours` lost, `example` (one error in full).
    """
    failed = rows[rows["state"].isin(["FAIL", "LOST"])].assign(
        cause=lambda found: found["error"].fillna("unknown").str.split(":").str[0]
    )
    final = final_attempts(rows)
    completed = set(final.loc[final["state"].eq("COMPLETE"), "trial"].dropna())
    table = [
        {
            "state": state,
            "cause": cause,
            "attempts": len(group),
            "trials": group["trial"].nunique(),
            "never_completed": len(set(group["trial"].dropna()) - completed),
            "core_hours": float(group["core_seconds"].astype("Float64").fillna(0).sum()) / 3600,
            "example": group["error"].iloc[0],
        }
        for (state, cause), group in failed.groupby(["state", "cause"], sort=False)
    ]
    columns = ["state", "cause", "attempts", "trials", "never_completed", "core_hours", "example"]
    return pd.DataFrame(table, columns=columns).sort_values(
        "attempts", ascending=False, kind="stable", ignore_index=True
    )
