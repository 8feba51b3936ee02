"""Healing: rows that Optuna was not told of, and trials whose job is gone.

The rows are the study and the scheduler is the truth about jobs; everything here is safe to repeat.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from analysis.rows.lost_causes import lost_cause
from slurm.profile import Retries
from slurm.records import Job, last_seen, read_exit, read_start
from slurm.states import LIVE, AskStates, JobState, earlier_state, job_states
from sweeps.run import claims
from sweeps.run import rows as row
from sweeps.run.claims import Claim
from sweeps.run.directory import Run
from sweeps.study.attempt_rows import final_row, read_attempt, was_damaged, write_once
from sweeps.study.study import tell

CANCELLED = "cancelled"
# Codes of the column `lost_cause`, by how a job ended.
CAUSES: dict[JobState, str] = {
    "OUT_OF_MEMORY": "out_of_memory",
    "TIMEOUT": "timeout",
    "NODE_FAIL": "node_fail",
    "PREEMPTED": "preempted",
    "CANCELLED": CANCELLED,
    "PLACE_FAIL": "place",
}


@dataclass(frozen=True)
class Orphan:
    """A trial that counts as running although nobody runs it; `cause` says why its job ended."""

    claim: Claim
    cause: str


def tell_rows(run: Run, study: optuna.Study) -> int:
    """Tell Optuna of every row it was not told of; return how many. Needs `run.lock()`."""
    told = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        claim = claims.newest(run, trial.number)
        values = final_row(run, claim) if claim else None
        if values is not None:
            tell_row(run, study, values)
            told += 1
    return told


def tell_row(run: Run, study: optuna.Study, values: Mapping[str, Any]) -> None:
    """Tell Optuna what a row says. Needs `run.lock()`."""
    if values["state"] == "COMPLETE":
        objectives = [float(values[name]) for name in run.sweep.objectives]
        constraints = row.constraint_values(values, run.sweep.constraints)
        tell(study, values["trial"], values=objectives, constraints=constraints)
    else:
        tell(study, values["trial"])


def orphans(
    run: Run, study: optuna.Study, me: Job | None, ask: AskStates | None = None
) -> list[Orphan]:
    """Return the running trials whose job is gone. One scheduler query, without the lock.

    While Slurm is silent no job counts as gone; with `known_states` for `ask` that is an error.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    owners = [(trial, claims.newest(run, trial.number)) for trial in running]
    asked = {claim.job_id for _, claim in owners if claim and claim.job_id}
    asked -= {me.job_id if me else ""}
    states = (ask or job_states)(sorted(asked), run.jobs) if asked else {}
    found = []
    for trial, claim in owners:
        if claim is not None and claim.recipe:
            cause = cause_of_attempt(run, claim.number, claim.attempt)
            cause = cause or _cause_of_death(claim, me, states)
            cause = "damaged" if cause and was_damaged(run, claim) else cause
        else:
            # Its worker died between asking and claiming. One that lives does both under the run's
            # lock, so whoever takes such a trial over, under it too, finds the claim.
            cause = "lost"
            claim = _nobody(trial, -1 if claim is None else claim.attempt)
        if cause is not None:
            found.append(Orphan(claim, cause))
    return found


def earlier_life(run: Run, study: optuna.Study, me: Job) -> list[Orphan]:
    """Return what this very job was doing when Slurm requeued it."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    owners = [claims.newest(run, trial.number) for trial in running] if me.restarts else []
    mine = [claim for claim in owners if claim is not None and claim.job_id == me.job_id]
    causes = [_cause_of_death(claim, me, {}) for claim in mine]
    return [Orphan(claim, cause) for claim, cause in zip(mine, causes, strict=True) if cause]


def _cause_of_death(claim: Claim, me: Job | None, states: Mapping[str, JobState]) -> str | None:
    """Return the code of why the job of a claim ended; None while it lives."""
    if me is not None and claim.job_id == me.job_id:
        # An earlier life of this very job, before Slurm requeued it.
        return _cause_of_requeue(me) if claim.restarts < me.restarts else None
    state = states.get(claim.job_id, "LOST")
    return None if state in LIVE else cause_of(state)


def cause_of(state: JobState) -> str:
    """Return the code of `lost_cause` for the end of a job."""
    return CAUSES.get(state, "lost")


def _cause_of_requeue(me: Job) -> str:
    """Return what only the accounting tells apart: a preemption, or the end of a node."""
    state = earlier_state(me.job_id)
    return "node_fail" if state == "NODE_FAIL" else "preempted"


def _nobody(trial: FrozenTrial, attempt: int) -> Claim:
    """Return the claim of a trial that nobody took, or whose claim is torn (full disk)."""
    return Claim(
        number=trial.number,
        attempt=attempt,
        params=trial.params,
        recipe=trial.user_attrs["recipe"],
        key=trial.user_attrs["key"],
        reference=trial.user_attrs.get("reference"),
    )


def bury(run: Run, orphan: Orphan) -> None:
    """Write the row of an attempt whose job died, unless it left one. Needs `run.lock()`."""
    claim = orphan.claim
    if claim.attempt < 0 or run.row_path(claim.number, claim.attempt).exists():
        return
    what = "its row could not be read" if orphan.cause == "damaged" else "is gone"
    error = f"{in_words(orphan.cause)}: job {claim.job_id or 'unknown'} {what}"
    exit = read_exit(claim.job_id, run.jobs)
    if exit is not None and exit.left_its_place:
        error += f", it ended with {exit.error}"
    lost = {"state": "LOST", "lost_cause": orphan.cause, "error": error}
    write_once(run, {**row.identity(run, claim), **_spent(run, claim), **lost})


def in_words(cause: str) -> str:
    """Return a code of `lost_cause` as an error begins with it."""
    words = {"place": "trouble of the place", "out_of_gpu_memory": "out of GPU memory"}
    return words.get(cause, cause.replace("_", " "))


def _spent(run: Run, claim: Claim) -> row.Row:
    """Return what an attempt had cost when its job died, as far as the job's record says."""
    if not claim.job_id:
        return {}
    found: row.Row = {"log_path": row.log_path(run, claim.job_id), "host": claim.node or None}
    job = read_start(claim.job_id, run.jobs)
    if job is None or job.started is None or not claim.started_utc:
        return found
    began = datetime.fromisoformat(claim.started_utc)
    if job.restarts > claim.restarts:  # its record is of a later life: the earlier ones' time
        seconds = min(job.earlier_seconds, job.started - began.timestamp())
    else:
        found |= {"host": job.host, "cores": ",".join(str(core) for core in job.cores)}
        exit = read_exit(claim.job_id, run.jobs)
        ended = (
            exit.ended
            if exit is not None and exit.restarts == job.restarts
            else last_seen(claim.job_id, run.jobs)
        )
        seconds = ended - began.timestamp()
    seconds = max(0.0, seconds)
    return found | {
        "seconds_total": seconds,
        "core_seconds": seconds * job.cpus,
        "finished_utc": began + timedelta(seconds=seconds),
    }


def give_up(run: Run, study: optuna.Study, claim: Claim) -> None:
    """Fail a trial for good, with a row that says so. Needs `run.lock()`.

    The row is that of one more attempt, which nobody ran.
    """
    nobody = Claim(
        number=claim.number,
        attempt=claim.attempt + 1,
        params=claim.params,
        recipe=claim.recipe,
        key=claim.key,
        reference=claim.reference,
    )
    lost = losses(run, claim.number)
    last = read_attempt(run, claim.number, claim.attempt) or {}
    counts = ", ".join(f"{in_words(cause)} {times}" for cause, times in lost.most_common())
    error = f"given up: lost {lost.total()} times ({counts}); the last: {last.get('error')}"
    if claims.take(run, nobody):
        given_up = {"state": "FAIL", "lost_cause": "given_up", "error": error}
        write_once(run, {**row.identity(run, nobody), **given_up})
    tell(study, claim.number)


def losses(run: Run, number: int) -> Counter[str]:
    """Return how often a trial was lost, by cause, since it was last run again after a failure."""
    found = Counter[str]()
    for attempt in range(claims.count(run, number)):
        values = read_attempt(run, number, attempt)
        if values is not None and values["state"] == "FAIL":
            found.clear()
        elif values is not None and (cause := lost_cause(values)):
            found[cause] += 1
    return found


def cause_of_attempt(run: Run, number: int, attempt: int) -> str | None:
    """Return why an attempt was lost by the row that it left; None if it left none, or another."""
    values = read_attempt(run, number, attempt)
    return None if values is None else lost_cause(values)


def may_retry(retries: Retries, lost: Mapping[str, int]) -> bool:
    """Whether the profile allows one more attempt after these losses.

    What a user cancelled may be resumed as often as they like. A cause without a limit of its own
    counts as a process that was killed without a trace.
    """
    return all(
        count <= int(getattr(retries, cause, retries.lost))
        for cause, count in lost.items()
        if cause != CANCELLED
    )
