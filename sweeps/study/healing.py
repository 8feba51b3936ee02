"""Healing: rows that Optuna was not told of, and trials whose job is gone.

The rows are the study and the scheduler is the truth about jobs; everything here is safe to repeat.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import optuna
import pyarrow.parquet as pq
from optuna.trial import FrozenTrial, TrialState

from analysis.rows.table import write_row
from slurm.profile import Retries
from slurm.records import Job, last_seen, read_exit, read_start
from slurm.states import LIVE, AskStates, JobState, earlier_state, job_states
from sweeps.run import claims
from sweeps.run import rows as row
from sweeps.run.claims import Claim
from sweeps.run.directory import Run
from sweeps.study.study import tell

MAX_ATTEMPTS = 100
CANCELLED = "cancelled"
# How a job's end counts against the limits of the profile's `retries`.
CAUSES: dict[JobState, str] = {
    "OUT_OF_MEMORY": "out_of_memory",
    "TIMEOUT": "timeout",
    "NODE_FAIL": "node_fail",
    "PREEMPTED": "preempted",
    "CANCELLED": CANCELLED,
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
        values = row.final_row(run, claim) if claim else None
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
            cause = lost_cause(run, claim.number, claim.attempt)
            cause = cause or _cause_of_death(claim, me, states)
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
    """Return why the job of a claim ended; None while it lives."""
    if me is not None and claim.job_id == me.job_id:
        # An earlier life of this very job, before Slurm requeued it.
        return _cause_of_requeue(me) if claim.restarts < me.restarts else None
    state = states.get(claim.job_id, "LOST")
    return None if state in LIVE else cause_of(state)


def cause_of(state: JobState) -> str:
    """Return the limit in `retries` that a job's end counts against."""
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
        job_id="",
        restarts=0,
        node="",
        started_utc="",
        params=trial.params,
        recipe=trial.user_attrs["recipe"],
        key=trial.user_attrs["key"],
        reference=trial.user_attrs.get("reference"),
        mem_gb=None,
        time_min=None,
    )


def bury(run: Run, orphan: Orphan) -> None:
    """Write the row of an attempt whose job died, unless it left one. Needs `run.lock()`."""
    path = run.row_path(orphan.claim.number, orphan.claim.attempt)
    if orphan.claim.attempt < 0 or path.exists():
        return
    identity = row.identity(run, orphan.claim)
    error = f"{orphan.cause.replace('_', ' ')}: job {orphan.claim.job_id or 'unknown'} is gone"
    lost = {"state": "LOST", "error": error}
    write_row({**identity, **_spent(run, orphan.claim), **lost}, path)


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


def give_up(run: Run, study: optuna.Study, number: int) -> None:
    """Fail a trial for good; its last LOST row says why. Needs `run.lock()`."""
    tell(study, number)


def losses(run: Run, number: int) -> Counter[str]:
    """Return how often a trial was lost, by cause."""
    causes = (lost_cause(run, number, attempt) for attempt in range(MAX_ATTEMPTS))
    return Counter(cause for cause in causes if cause)


def lost_cause(run: Run, number: int, attempt: int) -> str | None:
    """Return why an attempt was lost by the row that it left; None if it left none, or another."""
    path = run.row_path(number, attempt)
    if not path.exists():
        return None
    values = pq.read_table(path, columns=["state", "error"]).to_pylist()[0]
    if values["state"] != "LOST":
        return None
    return str(values["error"]).split(":")[0].replace(" ", "_")


def may_retry(retries: Retries, lost: Mapping[str, int]) -> bool:
    """Whether the profile allows one more attempt after these losses.

    What a user cancelled may be resumed as often as they like.
    """
    return all(
        count <= int(getattr(retries, cause)) for cause, count in lost.items() if cause != CANCELLED
    )
