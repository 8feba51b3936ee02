"""Where a run stands: trials by state, jobs, time used and left, the best points so far."""

import math
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from analysis.rows.records import Row, plain_records
from analysis.rows.table import final_attempts, load_results
from analysis.selection.objectives import candidates
from analysis.tables.methods_and_front import front_table
from analysis.tables.search_costs import volume_over_cost
from slurm.accounting import Usage, job_accounting, sacct_core_hours
from slurm.states import LIVE, JobState, is_local
from sweeps.report.active_time import active_seconds
from sweeps.report.causes import Cause, common_causes
from sweeps.report.feasibility import Feasibility, feasibility_of
from sweeps.run.directory import Run, budget
from sweeps.run.progress import Progress, read_progress
from sweeps.run.rounds import Round, round_states, rounds, why_idle


@dataclass(frozen=True)
class Status:
    """A snapshot of a run, from its rows, its jobs' states and what its workers last said."""

    run: str
    trials: dict[str, int]
    budget: int
    jobs: dict[str, int]
    working: list[Progress]
    front: Sequence[Row]
    feasibility: Feasibility | None  # None: the sweep has no constraints
    hypervolume: float
    hypervolume_history: list[float]  # after each attempt that ended
    causes: list[Cause]  # why trials have no result
    seconds_elapsed: float  # while the run was active
    seconds_left: float | None
    core_hours: float  # of the trials that ended
    core_hours_allocated: float  # of all jobs, by their own records
    core_hours_sacct: float | None  # by Slurm's accounting; None: there is none, or unasked
    busy_share: float | None  # of the workers' time, in trials that ended; None before the first
    finished: bool
    error: str | None
    warning: str | None  # what makes the rest of it less sure

    @property
    def done(self) -> int:
        """Trials with a final result, good or bad."""
        return sum(self.trials[state] for state in ("COMPLETE", "FAIL", "PRUNED"))

    def to_json(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        feasibility = None if self.feasibility is None else self.feasibility.to_json()
        return asdict(self) | {"feasibility": feasibility, "done": self.done}


def read_status(run: Run, *, with_sacct: bool = False) -> Status:
    """Take a snapshot. One scheduler query however many jobs there are, one more `with_sacct`."""
    run = replace(run, trials=budget(run))  # `resume` may have raised it since
    rows = load_results(run.path)
    submitted = rounds(run)
    silence: list[str] = []
    states = round_states(run, silence.append)
    usage = job_accounting([job for part in submitted for job in part.jobs], run.jobs)
    live = {job for job, state in states.items() if state in LIVE}
    working = [progress for progress in read_progress(run) if progress.job_id in live]
    trials = _trial_states(run, rows, working)
    history = _volume_history(run, rows)
    finished = (run.path / "finished.json").exists() and (not live or bool(silence))
    if finished and silence:
        states = {job: state for job, state in states.items() if state not in LIVE}
    return Status(
        run=str(run.path),
        trials=trials,
        budget=run.trials,
        jobs=dict(Counter(states.values())),
        working=working,
        front=plain_records(front_table(rows, run.sweep.objectives)),
        feasibility=feasibility_of(run, rows),
        hypervolume=history[-1] if history else 0.0,
        hypervolume_history=history,
        causes=common_causes(rows),
        seconds_elapsed=active_seconds(run, submitted, rows, goes_on=bool(live) and not finished),
        seconds_left=_left(run, rows, trials, len(working)),
        core_hours=float(rows["core_seconds"].fillna(0).sum()) / 3600,
        core_hours_allocated=sum(used.core_hours for used in usage.values()),
        core_hours_sacct=_by_sacct(list(usage)) if with_sacct else None,
        busy_share=_busy_share(submitted, rows, usage),
        finished=finished,
        error=_error(run, rows, trials, states, finished),
        warning=f"Slurm does not answer, jobs are as last known: {silence[0]}" if silence else None,
    )


def _error(
    run: Run,
    rows: pd.DataFrame,
    trials: Mapping[str, int],
    states: Mapping[str, JobState],
    finished: bool,
) -> str | None:
    """Return why a run has no result and does not go on to one, with the remedy."""
    if not finished:
        return why_idle(run, states)
    if trials["COMPLETE"]:
        return None
    reasons = rows.loc[rows["state"].eq("FAIL"), "error"].dropna()
    last = f", the last with {reasons.iloc[-1]}" if len(reasons) else ""
    return f"all trials failed{last}; correct the sweep and submit it under another name"


def _by_sacct(jobs: list[str]) -> float | None:
    """Return the core-hours of Slurm's jobs by its accounting, which may be away or not exist."""
    asked = [job for job in jobs if not is_local(job)]
    try:
        return sacct_core_hours(asked) if asked else None
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError):
        return None


def _trial_states(run: Run, rows: pd.DataFrame, working: list[Progress]) -> dict[str, int]:
    models = final_attempts(rows[rows["kind"].ne("linear")])
    found = Counter(str(state) for state in models["state"])
    running = {progress.trial for progress in working if progress.trial is not None}
    running -= set(models.loc[models["state"].ne("LOST"), "trial"].dropna())
    found["LOST"] -= len(running & set(models.loc[models["state"].eq("LOST"), "trial"].dropna()))
    known = {state: found[state] for state in ("COMPLETE", "FAIL", "PRUNED", "LOST")}
    known["RUNNING"] = len(running)
    known["WAITING"] = max(0, run.trials - sum(known.values()))
    return known


def _volume_history(run: Run, rows: pd.DataFrame) -> list[float]:
    """Return the hypervolume after each attempt, from the last reference point on."""
    table = volume_over_cost(rows, run.sweep.objectives)
    references = table.index[table["kind"].eq("reference")]
    begin = int(references.max()) if len(references) else 0
    return [float(value) for value in table["hypervolume"].iloc[begin:]]


def _busy_share(
    submitted: list[Round], rows: pd.DataFrame, usage: Mapping[str, Usage]
) -> float | None:
    """Return the workers' time in trials that ended, by their time allocated."""
    workers = [job for part in submitted for job in part.workers if job in usage]
    allocated_s = sum(usage[job].elapsed_seconds for job in workers)
    busy_s = rows.loc[rows["job_id"].isin(workers), "seconds_total"].sum()
    return float(busy_s) / allocated_s if busy_s else None


def _left(run: Run, rows: pd.DataFrame, trials: dict[str, int], workers: int) -> float | None:
    """Return the seconds until the budget is done, from the mean trial; None if unknown.

    The baseline, which trains nothing, says nothing of the others; nor do the reference points
    as soon as the search has trials of its own.
    """
    models = candidates(rows)
    complete = models[models["method"].ne("baseline").fillna(True)]
    searched = complete[complete["kind"].eq("search")]
    mean = (searched if len(searched) else complete)["seconds_total"].mean()
    open_trials = trials["WAITING"] + trials["LOST"] + 0.5 * trials["RUNNING"]
    if open_trials == 0:
        return 0.0
    if not workers or math.isnan(mean):
        return None
    return float(mean) * open_trials / min(workers, run.sweep.resources.workers)
