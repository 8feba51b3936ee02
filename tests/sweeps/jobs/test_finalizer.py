"""The end of a round: what is healed, what is grown, when another round is worth it."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from optuna.trial import TrialState

from analysis.rows.table import final_attempts, read_rows
from slurm.commands import refusal_of
from slurm.profile import JobResources
from slurm.records import Exit, Job, start_path, write_record
from slurm.states import JobState
from slurm.submit import SubmissionError
from sweeps.definition.sweep import Bound
from sweeps.jobs import finalizer as finalize
from sweeps.jobs import launch, patience
from sweeps.run.claims import Claim
from sweeps.run.directory import Run, open_run
from sweeps.run.files import write_json
from sweeps.run.rounds import Round, prepare_losses, rounds, write_round
from sweeps.study import healing as reconcile
from sweeps.study.attempts import _take_orphan, next_attempt
from sweeps.study.study import locked_study, open_study, start_waiting
from tests.sweeps.small_run import make_job


def ended_attempt(run: Run, state: str, *, job_id: str, mem_gb: float = 2.0) -> Claim:
    """Start a trial in a job of its own, and let that job end in some state."""
    job = replace(make_job(run), job_id=job_id)
    resources = JobResources(mem_gb=mem_gb, time_min=10)
    claim = next_attempt(run, job, resources, worker=0)
    assert claim is not None
    write_record(Exit(job_id, "DONE", None, 0, 0.0, 1.0, 1.0, 1), run.jobs)
    return claim


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> dict[str, JobState]:
    """The scheduler's word on every job, to be set by a test."""
    said: dict[str, JobState] = {}

    def job_states(job_ids: Any, _: Path) -> dict[str, JobState]:
        return {job_id: said.get(job_id, "LOST") for job_id in job_ids}

    monkeypatch.setattr(reconcile, "job_states", job_states)
    monkeypatch.setattr(finalize, "known_states", job_states)
    return said


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("OUT_OF_MEMORY", "out of memory"),
        ("TIMEOUT", "timeout"),
        ("NODE_FAIL", "node fail"),
        ("PREEMPTED", "preempted"),
        ("CANCELLED", "cancelled"),
        ("LOST", "lost"),
        ("FAILED", "lost"),
    ],
)
def test_a_dead_job_leaves_a_row_with_its_cause(
    run: Run, states: dict[str, JobState], state: JobState, cause: str
) -> None:
    claim = ended_attempt(run, state, job_id="11")
    states["11"] = state
    lost = finalize.heal(run)
    assert [orphan.claim.number for orphan in lost] == [claim.number]
    row = read_rows(run.path).iloc[0]
    assert row["state"] == "LOST" and row["error"].startswith(f"{cause}: job 11")
    assert row["lost_cause"] == cause.replace(" ", "_")


def test_a_lost_attempt_costs_what_its_job_took_until_it_was_last_seen(
    run: Run, states: dict[str, JobState]
) -> None:
    job = replace(make_job(run), job_id="11", cpus=4)
    claim = next_attempt(run, job, run.profile.job("worker"), worker=0)
    assert claim is not None
    write_record(job, run.jobs)
    seen = datetime.fromisoformat(claim.started_utc).timestamp() + 100
    os.utime(start_path("11", run.jobs), (seen, seen))
    finalize.heal(run)
    row = read_rows(run.path).iloc[0]
    assert row["seconds_total"] == pytest.approx(100, abs=0.01)
    assert row["core_seconds"] == pytest.approx(400, abs=0.04)
    assert row["host"] == job.host and row["log_path"] == "jobs/11_0_log.err"
    assert (row["finished_utc"] - row["started_utc"]).total_seconds() == pytest.approx(100)


@pytest.mark.parametrize("state", ["RUNNING", "PENDING"])
def test_a_live_job_is_left_alone(run: Run, states: dict[str, JobState], state: JobState) -> None:
    ended_attempt(run, state, job_id="11")
    states["11"] = state
    assert finalize.heal(run) == [] and read_rows(run.path).empty


def test_memory_and_time_grow_and_failed_nodes_are_left_out(
    run: Run, states: dict[str, JobState]
) -> None:
    worker = run.profile.worker.model_copy(update={"mem_gb": 4.0, "time_min": 30})
    profile = run.profile.model_copy(update={"mem_gb": 4.0, "time_min": 30, "worker": worker})
    run = replace(run, profile=profile)
    for number, state in enumerate(["OUT_OF_MEMORY", "TIMEOUT", "NODE_FAIL"]):
        ended_attempt(run, state, job_id=str(number))
        states[str(number)] = state  # type: ignore[assignment]
    grown = finalize.grow(run, finalize.heal(run))
    assert grown.mem_gb == 6.0  # half as much again, as the profile's page says
    assert grown.time_min == 60  # twice the time
    assert grown.exclude is not None


def test_a_worker_that_would_run_out_again_does_not_take_the_trial(
    run: Run, states: dict[str, JobState]
) -> None:
    worker = run.profile.worker.model_copy(update={"mem_gb": 2.0})
    run = replace(run, profile=run.profile.model_copy(update={"worker": worker}))
    claim = ended_attempt(run, "OUT_OF_MEMORY", job_id="11", mem_gb=2.0)
    states["11"] = "OUT_OF_MEMORY"
    same, more = JobResources(mem_gb=2.0), JobResources(mem_gb=3.0)
    assert _take(run, same) is None
    taken = _take(run, more)
    assert taken is not None and (taken.number, taken.attempt) == (claim.number, 1)
    assert taken.recipe == claim.recipe


def _take(run: Run, resources: JobResources, job: Job | None = None) -> Claim | None:
    study = open_study(run)
    job = job or replace(make_job(run), job_id="12", node="other")
    return _take_orphan(run, job, resources, reconcile.orphans(run, study, job))


def test_retries_are_limited_by_cause_and_then_the_trial_fails(
    run: Run, states: dict[str, JobState]
) -> None:
    limit = run.profile.retries.lost
    ended_attempt(run, "LOST", job_id="job0")
    for attempt in range(limit):
        assert finalize.heal(run)
        job = replace(make_job(run), job_id=f"job{attempt + 1}")
        assert _take(run, JobResources(), job) is not None
    assert finalize.heal(run) == []
    assert open_study(run).trials[0].state == TrialState.FAIL
    rows = read_rows(run.path)
    assert list(rows["state"]) == ["LOST"] * (limit + 1) + ["FAIL"]
    assert final_attempts(rows)["accuracy_test"].isna().all()
    last = rows.iloc[-1]
    assert last["lost_cause"] == "given_up"
    assert last["error"] == "given up: lost 3 times (lost 3); the last: lost: job job2 is gone"
    run.journal.unlink()
    assert open_study(run).trials[0].state == TrialState.FAIL, "the rows say so too"
    assert finalize.heal(run) == []


def test_the_retries_of_a_trial_are_read_off_rows_of_schema_1_too(
    run: Run, states: dict[str, JobState]
) -> None:
    """A run that is resumed after an update: its rows say the cause in words alone."""
    for attempt in range(run.profile.retries.node_fail):
        job = replace(make_job(run), job_id=f"job{attempt}")
        states[job.job_id] = "NODE_FAIL"
        assert _take(run, JobResources(), job) or next_attempt(run, job, JobResources(), worker=0)
        assert finalize.heal(run)
        path = run.row_path(0, attempt)
        table = pq.read_table(path)
        pq.write_table(table.drop_columns(["lost_cause"]), path)
    assert reconcile.losses(run, 0) == {"node_fail": 3}


def test_a_trial_that_nobody_claimed_is_not_given_up(run: Run) -> None:
    with locked_study(run) as study:
        start_waiting(study, run.sweep)
    for _ in range(5):
        (orphan,) = finalize.heal(run)
    assert orphan.claim.attempt == -1 and read_rows(run.path).empty


def test_what_was_cancelled_may_be_resumed_for_ever() -> None:
    from slurm.profile import Retries

    assert reconcile.may_retry(Retries(), {"cancelled": 99})
    assert not reconcile.may_retry(Retries(lost=2), {"lost": 3})


def make_round(run: Run, **changes: Any) -> Round:
    """A submission whose prepare job is done."""
    values = {"number": 0, "prepare": ["p"], "workers": ["w"], "finalize": ["f"]}
    return Round(**{**values, "submitted_utc": "2026-01-01T00:00:00+00:00", **changes})


def test_a_round_follows_one_that_was_killed_but_not_for_ever(
    run: Run, states: dict[str, JobState]
) -> None:
    """Or a broken node, a missing module, would be tried for ever."""
    states |= {"p": "DONE", "w": "NODE_FAIL"}
    for number in range(run.profile.retries.node_fail):
        assert finalize.why_stop(run, make_round(run, number=number)) is None
    assert "lost too often" in str(finalize.why_stop(run, make_round(run, number=9)))
    ended_attempt(run, "LOST", job_id="w")
    finalize.heal(run)
    assert finalize.why_stop(run, make_round(run)) is None


def test_workers_that_die_before_any_trial_get_more_memory_too(
    run: Run, states: dict[str, JobState]
) -> None:
    profile = run.profile.model_copy(update={"mem_gb": 4.0})
    run = replace(run, profile=profile)
    states |= {"p": "DONE", "w": "OUT_OF_MEMORY"}
    assert finalize.why_stop(run, make_round(run)) is None
    assert finalize.grow(run, []).mem_gb == 6.0


def test_no_round_follows_one_whose_workers_failed(run: Run, states: dict[str, JobState]) -> None:
    states |= {"p": "DONE", "w": "FAILED"}
    write_round(run, make_round(run))
    assert finalize.trials_left(run, open_study(run)) == run.trials
    assert "FAILED before any trial" in str(finalize.why_stop(run, make_round(run)))


def test_nothing_follows_a_prepare_job_that_failed(run: Run, states: dict[str, JobState]) -> None:
    ended_attempt(run, "LOST", job_id="w")
    finalize.heal(run)
    states["p"] = "FAILED"
    assert "prepare job ended as FAILED" in str(finalize.why_stop(run, make_round(run)))


def test_a_prepare_job_that_was_lost_is_tried_again_with_more(
    run: Run, states: dict[str, JobState]
) -> None:
    states |= {"p": "OUT_OF_MEMORY", "w": "CANCELLED"}
    for number in range(run.profile.retries.out_of_memory):
        assert finalize.why_stop(run, make_round(run, number=number)) is None
        assert prepare_losses(run) == {"out_of_memory": number + 1}
    assert "lost too often" in str(finalize.why_stop(run, make_round(run, number=9)))


def test_a_refused_submission_leaves_no_job_and_no_round(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepare and workers are in the queue already when the finalizer is refused."""
    cancelled: list[str] = []

    def submit(_: Any, kind: str, *__: Any, **___: Any) -> list[str]:
        if kind == "finalize":
            raise SubmissionError("on purpose")
        return [kind]

    monkeypatch.setattr(launch, "submit", submit)
    monkeypatch.setattr(launch, "cancel", lambda jobs, _: cancelled.extend(jobs))
    with pytest.raises(SubmissionError):
        launch.launch(run, trials_left=3)
    assert cancelled == ["worker", "prepare"] and rounds(run) == []


def test_the_next_round_has_room_for_each_trial_that_is_lost_or_left(
    run: Run, states: dict[str, JobState], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a job a trial, a lost one must not take the place of one that was never started."""
    asked: list[int] = []
    monkeypatch.setattr(
        finalize, "launch", lambda _, *, trials_left, **__: asked.append(trials_left)
    )
    ended_attempt(run, "LOST", job_id="11")
    lost = finalize.heal(run)
    assert len(lost) == 1
    finalize._launch_next(run, -1, lost)
    assert asked == [run.trials]


def refuse_growth(
    monkeypatch: pytest.MonkeyPatch, words: str, fits: Callable[[JobResources], bool]
) -> list[JobResources]:
    """Let Slurm take a round only if its workers fit; return what was asked for."""
    asked: list[JobResources] = []

    def launch(_: Run, *, worker: JobResources, **__: Any) -> None:
        asked.append(worker)
        if not fits(worker):
            # The name of a run says nothing of what was refused.
            said = f"Slurm refused the worker jobs of lmopt-node-is-passing: {words}"
            raise SubmissionError(said, refusal_of(words))

    monkeypatch.setattr(finalize, "launch", launch)
    monkeypatch.setattr(patience.time, "sleep", lambda _: None)
    return asked


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("TIMEOUT", "Requested time limit is invalid (missing or exceeds some limit)"),
        ("OUT_OF_MEMORY", "Memory required by task is not available"),
        ("OUT_OF_MEMORY", "Requested node configuration is not available"),
    ],
)
def test_growth_that_slurm_refuses_is_given_up_and_the_trial_tried_with_what_there_is(
    run: Run, states: dict[str, JobState], monkeypatch: pytest.MonkeyPatch, state: str, words: str
) -> None:
    run = replace(run, profile=run.profile.model_copy(update={"mem_gb": 2.0, "time_min": 10}))
    claim = ended_attempt(run, state, job_id="11")
    states["11"] = state  # type: ignore[assignment]
    said = run.profile.job("worker")
    asked = refuse_growth(monkeypatch, words, lambda worker: worker == said)
    finalize._launch_next(run, -1, finalize.heal(run))
    assert len(asked) == 2 and asked[0] != said and asked[1] == said
    assert open_run(run.path).profile.retries.time_growth == 1
    # Workers of the next round see the profile as it is now.
    run = replace(run, profile=run.profile.without_growth())
    taken = _take(run, said)
    assert taken is not None and (taken.number, taken.attempt) == (claim.number, 1)


def test_a_full_queue_takes_no_growth_away(
    run: Run, states: dict[str, JobState], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = replace(run, profile=run.profile.model_copy(update={"mem_gb": 2.0, "time_min": 10}))
    ended_attempt(run, "TIMEOUT", job_id="11")
    states["11"] = "TIMEOUT"
    tries = iter([False, False, True])
    words = (
        "QOSMaxSubmitJobPerUserLimit; Job violates accounting/QOS policy (job submit limit, ...)"
    )
    asked = refuse_growth(monkeypatch, words, lambda _: next(tries))
    finalize._launch_next(run, -1, finalize.heal(run))
    assert [worker.time_min for worker in asked] == [20, 20, 20]
    assert open_run(run.path).profile.retries.time_growth == 2


def test_the_nodes_that_failed_are_used_again_before_growth_is_given_up(
    run: Run, states: dict[str, JobState], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = replace(run, profile=run.profile.model_copy(update={"mem_gb": 2.0, "time_min": 10}))
    for job_id, state in (("11", "TIMEOUT"), ("12", "NODE_FAIL")):
        ended_attempt(run, state, job_id=job_id)
        states[job_id] = state  # type: ignore[assignment]
    words = "Requested node configuration is not available"
    asked = refuse_growth(monkeypatch, words, lambda worker: worker.exclude is None)
    finalize._launch_next(run, -1, finalize.heal(run))
    assert [worker.time_min for worker in asked] == [20, 20]


def test_constraints_become_what_optuna_wants() -> None:
    from sweeps.run.rows import constraint_values, is_feasible

    bounds = {"size_bytes": Bound(max=5e6), "speedup_b1": Bound(min=2.0)}
    row = {"state": "COMPLETE", "size_bytes": 4_000_000, "speedup_b1": 1.5}
    values = list(constraint_values(row, bounds).values())
    assert values == [-1e6, 0.5]
    assert is_feasible(row, bounds) is False
    assert is_feasible({**row, "speedup_b1": 2.0}, bounds) is True
    assert is_feasible(row, {}) is None


def test_small_files_are_whole_or_not_there(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {("no", "key"): 1})
    assert (tmp_path / "a.json").read_text().strip().startswith("{")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
