"""What a worker does next: take over an orphan, start a waiting trial, or propose a new one."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import optuna
from optuna.trial import FrozenTrial, TrialState

from slurm.profile import JobResources
from slurm.records import Job
from sweeps.run import claims
from sweeps.run.claims import Claim
from sweeps.run.directory import Run, budget
from sweeps.run.provenance import code_commit
from sweeps.study import healing
from sweeps.study.healing import Orphan
from sweeps.study.proposals import Point, derive_seed, propose, taken_keys
from sweeps.study.study import locked_study, open_study, start_point, start_waiting

LIVENESS_INTERVAL_S = 60


def next_attempt(run: Run, job: Job, resources: JobResources, *, worker: int) -> Claim | None:
    """Return the attempt that this worker now owns; None when there is nothing left for it.

    Trials in any state count for the budget, so it is never overshot. Sampling happens outside the
    lock; a point that somebody else took meanwhile is proposed anew.
    """
    with locked_study(run) as study:
        healing.tell_rows(run, study)
    claim = _take_orphan(run, job, resources, healing.earlier_life(run, study, job))
    if claim is not None:
        return claim
    with locked_study(run) as study:
        claim = _claim_new(run, job, resources, start_waiting(study, run.sweep))
        spent = _budget_left(run, study) <= 0
    if claim is None and (spent or _liveness_is_due(run)):
        claim = _take_orphan(run, job, resources, healing.orphans(run, study, job))
    proposals = 0
    while claim is None and _budget_left(run, study := open_study(run)) > 0:
        taken = len(study.get_trials(deepcopy=False))
        seed = derive_seed(run.sweep.study.seed, worker, taken, proposals)
        point = propose(study, run.sweep, seed=seed)
        if point is None:
            (run.path / "space.exhausted").touch()
            return _take_orphan(run, job, resources, healing.orphans(run, study, job))
        with locked_study(run) as study:
            claim = _start(run, study, job, resources, point)
        proposals += 1
    return claim


def _budget_left(run: Run, study: optuna.Study) -> int:
    return budget(run) - len(study.get_trials(deepcopy=False))


def _start(
    run: Run, study: optuna.Study, job: Job, resources: JobResources, point: Point
) -> Claim | None:
    trials = study.get_trials(deepcopy=False)
    if len(trials) >= budget(run) or point.key in taken_keys(trials):
        return None
    return _claim_new(run, job, resources, start_point(study, run.sweep, point))


def _claim_new(
    run: Run, job: Job, resources: JobResources, trial: FrozenTrial | None
) -> Claim | None:
    if trial is None:
        return None
    claim = Claim(
        number=trial.number,
        attempt=claims.count(run, trial.number),
        job_id=job.job_id,
        restarts=job.restarts,
        node=job.node,
        started_utc=datetime.now(UTC).isoformat(),
        params=dict(trial.params),
        recipe=trial.user_attrs["recipe"],
        key=trial.user_attrs["key"],
        reference=trial.user_attrs.get("reference"),
        mem_gb=resources.mem_gb,
        time_min=resources.time_min,
        git_commit=code_commit(),
    )
    return claim if claims.take(run, claim) else None


def _liveness_is_due(run: Run) -> bool:
    """Let one worker a minute look for dead jobs: a query each trial would burden the scheduler.

    It is not asked once the budget is spent, when each worker has no more than its last question.
    """
    stamp = run.path / "liveness.stamp"
    try:
        if time.time() - stamp.stat().st_mtime < LIVENESS_INTERVAL_S:
            return False
    except FileNotFoundError:
        pass
    stamp.touch()
    return True


def _take_orphan(
    run: Run, job: Job, resources: JobResources, orphans: Sequence[Orphan]
) -> Claim | None:
    """Take over the first orphan that this job can hold; give up those without retries left."""
    for orphan in orphans:
        with locked_study(run) as study:
            claim = _take_over(run, study, orphan, job, resources)
        if claim is not None:
            return claim
    return None


def _take_over(
    run: Run, study: optuna.Study, orphan: Orphan, job: Job, resources: JobResources
) -> Claim | None:
    owner = orphan.claim
    state = study.get_trials(deepcopy=False)[owner.number].state
    if state != TrialState.RUNNING or not claims.owns(run, owner):
        return None
    healing.bury(run, orphan)
    if not healing.may_retry(run.profile.retries, healing.losses(run, owner.number)):
        healing.give_up(run, study, owner)
        return None
    if _too_small(run, orphan, resources) or _same_place(orphan, job):
        return None
    claim = replace(
        owner,
        attempt=owner.attempt + 1,
        job_id=job.job_id,
        restarts=job.restarts,
        node=job.node,
        started_utc=datetime.now(UTC).isoformat(),
        mem_gb=resources.mem_gb,
        time_min=resources.time_min,
        git_commit=code_commit(),
    )
    return claim if claims.take(run, claim) else None


def _too_small(run: Run, orphan: Orphan, resources: JobResources) -> bool:
    """Whether the profile would give this trial more memory or time than this job has.

    Where it would not (no limit is set, or it is reached), the trial is tried with what there is,
    and `retries` ends it.
    """
    lost = healing.losses(run, orphan.claim.number)
    grown = run.profile.job(
        "worker", out_of_memory=lost.get("out_of_memory", 0), timeouts=lost.get("timeout", 0)
    )
    wanted_and_given = {
        "out_of_memory": (grown.mem_gb, resources.mem_gb),
        "timeout": (grown.time_min, resources.time_min),
    }
    wanted, given = wanted_and_given.get(orphan.cause, (None, None))
    return wanted is not None and given is not None and given < wanted


def _same_place(orphan: Orphan, job: Job) -> bool:
    """Whether this job has the node that failed, while the next round's jobs may have another."""
    claim = orphan.claim
    same_array = claim.job_id.split("_")[0] == job.job_id.split("_")[0]
    return orphan.cause in ("node_fail", "place") and claim.node == job.node and same_array
