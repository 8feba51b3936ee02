"""Which trial is taken home: one by its number, the knee, the best under conditions, the pick.

Chosen on what the search saw (validation), never on test columns.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from analysis.rows.records import Row, plain_records
from analysis.rows.schema import BATCHES
from analysis.rows.table import final_attempts
from analysis.rows.units import counted, display_of
from analysis.selection.fronts import front_knee
from analysis.selection.limits import Limit, by_distance, meets, with_unit
from analysis.selection.objectives import candidates, quality_objective
from analysis.selection.processors import is_timed, main_processor, processors, timed_on
from analysis.selection.recommendation import (
    KNEE_RULE,
    best_combination,
    loses_too_much,
    quality_drop,
)
from sweeps.definition.errors import ConfigError

DROP, SIZE = "accuracy_drop_validation", "size_bytes"


@dataclass(frozen=True)
class Choice:
    """The row of the chosen trial, and why it was chosen, in words.

    `asked`: a person named the trial; else the rule chose it on the validation split.
    """

    row: Row
    rule: str
    asked: bool = False

    @property
    def trial(self) -> int:
        return int(self.row["trial"])

    @property
    def how(self) -> str:
        """Say how the trial was chosen."""
        by = "why this trial" if self.asked else "chosen on the validation split"
        return f"{by}: {self.rule}"


def make_conditions(
    max_accuracy_drop: float | None,
    max_size_mb: float | None,
    min_speedup: float | None,
    batch: str | None,
) -> list[Limit]:
    """Check what the command line asks for.

    Raises:
        ConfigError: A value outside its range, or a batch size that was not timed.
    """
    if max_accuracy_drop is not None and not -1 < max_accuracy_drop < 1:
        raise ConfigError(
            f"--max-accuracy-drop is a share in (-1, 1), 0.01 is one point: got {max_accuracy_drop}"
        )
    for name, value in (("--max-size-mb", max_size_mb), ("--min-speedup", min_speedup)):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name} must be a number above 0, got {value}")
    if batch is not None and batch not in BATCHES:
        raise ConfigError(f"--batch must be {' or '.join(BATCHES)}, got {batch!r}")
    if batch is not None and min_speedup is None:
        raise ConfigError("--batch says where --min-speedup counts: give --min-speedup too")
    wanted = [
        (DROP, 1, max_accuracy_drop),
        (SIZE, 1, None if max_size_mb is None else max_size_mb * 1e6),
        (f"speedup_{batch or BATCHES[0]}", -1, min_speedup),
    ]
    return [Limit(name, sign, bound) for name, sign, bound in wanted if bound is not None]


def choose(
    rows: pd.DataFrame,
    objectives: Mapping[str, str],
    *,
    trial: int | str | None = None,
    knee: bool = False,
    conditions: Sequence[Limit] = (),
) -> Choice:
    """Choose one completed model of a sweep; without any wish, what the report calls the best.

    Raises:
        ConfigError: Two wishes at once, a trial without numbers, conditions that no trial meets.
    """
    if (trial is not None) + knee + bool(conditions) > 1:
        raise ConfigError("give one of --trial, --knee, or conditions, not several")
    if trial is not None:
        return choose_trial(rows, trial)
    models = candidates(rows)
    if models.empty:
        raise ConfigError("no trial has finished yet; the linear model alone cannot be exported")
    # A condition on speed makes the choice one processor's, whatever the objectives are.
    judged = {**objectives, **{c.column: "maximize" for c in conditions}}
    where = ""
    if is_timed(judged) and timed_on(models).nunique() > 1:
        rows, where = main_processor(rows, judged), f", on {processors(rows)[0]}"
    choice = _choose_best(rows, objectives, knee=knee, conditions=conditions)
    return replace(choice, rule=choice.rule + where)


def _choose_best(
    rows: pd.DataFrame,
    objectives: Mapping[str, str],
    *,
    knee: bool,
    conditions: Sequence[Limit],
) -> Choice:
    if conditions:
        return _choose_under(rows, objectives, conditions)
    best, rule = best_combination(rows, objectives)
    if knee and len(best):
        best, rule = front_knee(rows, objectives), KNEE_RULE
        if loses_too_much(best, rows, objectives):
            lost = 100 * quality_drop(best, rows, objectives).item()
            split = display_of(quality_objective(objectives)).label
            rule += f", but it loses {lost:.1f} points of {split}: not worth taking"
    if best.empty:
        raise ConfigError(f"{rule}: name one with --trial ({_numbers(candidates(rows))})")
    return Choice(_record(best), rule)


def choose_trial(rows: pd.DataFrame, wish: int | str) -> Choice:
    """Choose a trial by its number, or a reference point by its name.

    Raises:
        ConfigError: There is none, or several of that name; what there is is named.
    """
    if str(wish).isdecimal():
        return choose_number(rows, int(wish))
    final = final_attempts(rows)
    names = final[final["kind"].eq("reference")].sort_values("trial")
    found = [int(number) for number in names.loc[names["method"].eq(wish), "trial"]]
    if len(found) == 1:
        return choose_number(rows, found[0])
    if found:
        raise ConfigError(f"{wish} is the name of trials {', '.join(map(str, found))}: give one")
    known = ", ".join(dict.fromkeys(names["method"]))
    raise ConfigError(
        f"no trial {wish!r}: give a number, or the name of a reference point"
        + (f" ({known})" if known else "; none has ended yet")
    )


def choose_number(rows: pd.DataFrame, trial: int) -> Choice:
    """Choose a trial by its number.

    Raises:
        ConfigError: It does not exist, or has no numbers; the nearest that has is named.
    """
    completed = candidates(rows)
    found = completed[completed["trial"].eq(trial)]
    if len(found):
        return Choice(_record(found), "asked for by its number or name", asked=True)
    known = sorted(int(number) for number in completed["trial"])
    nearest = min(known, key=lambda number: abs(number - trial), default=None)
    hint = f"; the nearest completed one is {nearest}" if known else "; none is completed yet"
    final = final_attempts(rows)
    other = final[final["trial"].eq(trial)]
    if other.empty:
        raise ConfigError(f"no trial {trial}{hint}")
    state, error = other.iloc[0]["state"], other.iloc[0]["error"]
    why = "" if pd.isna(error) else f" ({error})"
    raise ConfigError(f"trial {trial} has no artifact, its state is {state}{why}{hint}")


def _choose_under(
    rows: pd.DataFrame, objectives: Mapping[str, str], conditions: Sequence[Limit]
) -> Choice:
    """The best in the first objective that no condition limits, among all that meet them."""
    models = candidates(rows)
    models = models[models["feasible"].fillna(True).astype(bool)]
    enough = models[meets(models, conditions)]
    wish = "; ".join(str(condition) for condition in conditions)
    if enough.empty:
        raise ConfigError(f"no trial has {wish}{_nearest(models, conditions)}")
    order = _order(objectives, conditions)
    enough = enough.sort_values(
        order, ascending=[objectives[name] == "minimize" for name in order], kind="stable"
    )
    goal = display_of(order[0]).label
    which = {"minimize": "smallest", "maximize": "highest"}[objectives[order[0]]]
    return Choice(
        _record(enough.head(1)), f"{which} {goal} of {counted(len(enough), 'trial')} with {wish}"
    )


def _order(objectives: Mapping[str, str], conditions: Sequence[Limit]) -> list[str]:
    """Objectives by rank: quality first, but those that a condition limits already come last."""
    quality = quality_objective(objectives)
    limited = {quality if c.column == DROP else c.column for c in conditions}
    ranked = sorted(objectives, key=lambda name: name != quality)
    return sorted(ranked, key=lambda name: name in limited)


def _nearest(models: pd.DataFrame, conditions: Sequence[Limit]) -> str:
    """Name the trial that misses the conditions least, each in units of its own bound."""
    close = by_distance(models, conditions)
    if close.empty:
        return "; no trial has all these numbers"
    row = close.iloc[0]
    has = ", ".join(
        f"{display_of(c.column).label} {with_unit(c.column, row[c.column])}" for c in conditions
    )
    return f"; the nearest is trial {row['trial']}: {has}"


def _numbers(models: pd.DataFrame) -> str:
    return ", ".join(str(number) for number in sorted(models["trial"]))


def _record(frame: pd.DataFrame) -> Row:
    """The one row of a frame as plain values, None where there is none."""
    (row,) = plain_records(frame)
    return row
