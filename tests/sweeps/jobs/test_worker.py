"""Workers: budget, claims, rows before tells, and what happens when one dies."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from optuna.trial import TrialState

from analysis.rows.table import read_rows
from lmopt.errors import UserError
from lmopt.methods.recipe import Recipe
from sweeps.jobs import worker
from sweeps.run import claims
from sweeps.run.directory import Run
from sweeps.study import attempts, healing
from sweeps.study.attempt_rows import write_once
from sweeps.study.study import locked_study, open_study, start_point, start_waiting
from tests.sweeps.small_run import make_job
from tests.sweeps.workers import FORK, Step, check_whole, kill_at_trial, work, work_together


def stop_after(run: Run, trials: int) -> Step:
    """Die of kill -9 as the trial of a number begins, and leave no claim of it."""

    def before(recipe: Recipe) -> None:
        if (number := max(claims.numbers(run))) == trials:
            run.journal.unlink()
            (run.claims / f"{number:06d}-00.json").unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    return before


def test_one_worker_runs_the_budget_reference_points_first(run: Run) -> None:
    work_together(run, 1)
    check_whole(run, 12)
    rows = read_rows(run.path).sort_values("trial")
    assert list(rows["method"][:4]) == ["baseline", "distillation", "pruning", "quantization"]
    assert rows["method"][4:].isna().all() and (rows["state"] == "COMPLETE").all()
    baseline = rows.iloc[0]
    assert baseline["size_ratio"] == pytest.approx(1) and baseline["accuracy_drop_test"] == 0
    assert list(baseline["stages_cached"]) == ["artifact"]


def test_many_workers_never_overshoot_nor_repeat(run: Run) -> None:
    work_together(run, 6)
    check_whole(run, 12)
    assert read_rows(run.path)["job_id"].nunique() > 1


def test_a_second_worker_on_a_finished_study_does_nothing(run: Run) -> None:
    work_together(run, 1)
    before = sorted(path.stat().st_mtime_ns for path in run.rows.iterdir())
    work_together(run, 2)
    assert sorted(path.stat().st_mtime_ns for path in run.rows.iterdir()) == before


def test_an_exhausted_space_ends_the_sweep(run: Run, definition: dict[str, Any]) -> None:
    from sweeps.definition.sweep import parse_sweep
    from sweeps.run.directory import create_run

    definition["search"] = {"layers": [1, 2], "bits": [8, 4]}
    definition["study"]["trials"] = 30
    sweep = parse_sweep(definition, source="x")
    small = create_run(run.path.parent / "small", sweep, run.profile, run.cache, {})
    work_together(small, 2)
    check_whole(small, 4 + 4)
    assert (small.path / "space.exhausted").exists()


def test_a_killed_worker_leaves_an_orphan_that_goes_on_under_its_number(
    run: Run, tmp_path: Path
) -> None:
    work_together(run, 1, kill_at_trial(tmp_path / "killed"))
    orphan = [t.number for t in open_study(run).trials if t.state == TrialState.RUNNING]
    assert len(orphan) == 1
    work_together(run, 2)
    check_whole(run, 12)
    rows = read_rows(run.path)
    attempts = rows[rows["trial"] == orphan[0]].sort_values("attempt")
    assert list(attempts["state"]) == ["LOST", "COMPLETE"]
    assert "is gone" in attempts["error"].iloc[0] and attempts["accuracy_test"].isna().iloc[0]
    assert attempts["recipe_key"].nunique() == 1


def test_only_one_of_many_takes_an_orphan_over(run: Run, tmp_path: Path) -> None:
    work_together(run, 1, kill_at_trial(tmp_path / "killed"))
    work_together(run, 5)
    check_whole(run, 12)
    assert len(read_rows(run.path)) == 13


def test_a_row_without_a_tell_is_only_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Death between row and tell: whoever comes next finds the row."""

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(worker, "tell_row", die)
    work_together(run, 1)
    monkeypatch.undo()
    assert open_study(run).trials[0].state == TrialState.RUNNING
    assert len(read_rows(run.path)) == 1
    work_together(run, 2)
    check_whole(run, 12)
    assert len(read_rows(run.path)) == 12


def test_a_process_that_was_believed_dead_drops_its_result(run: Run) -> None:
    job = make_job(run)
    resources = run.profile.job("worker")
    claim = worker.next_attempt(run, job, resources, worker=0)
    assert claim is not None
    taken = claims.Claim(**{**claim.__dict__, "attempt": 1, "job_id": "somebody else"})
    assert claims.take(run, taken)
    assert not worker.record(run, claim, {"state": "FAIL", "error": "late"})
    assert not run.row_path(claim.number, 0).exists()
    assert open_study(run).trials[claim.number].state == TrialState.RUNNING


def test_a_process_that_was_given_up_leaves_the_row_as_it_is(run: Run) -> None:
    """Its trial was told FAIL, for good: a COMPLETE row would contradict the study."""
    job = make_job(run)
    claim = worker.next_attempt(run, job, run.profile.job("worker"), worker=0)
    assert claim is not None
    with locked_study(run) as study:
        healing.bury(run, healing.Orphan(claim, "lost"))
        before = run.row_path(claim.number, 0).read_bytes()
    assert not worker.record(run, claim, {"state": "FAIL", "error": "late"})
    assert run.row_path(claim.number, 0).read_bytes() == before
    with locked_study(run) as study:
        healing.give_up(run, study, claim)
    assert not worker.record(run, claim, {"state": "FAIL", "error": "later"})
    assert list(read_rows(run.path)["state"]) == ["LOST", "FAIL"]
    assert list(run.rows.glob(".*")) == []


def _write(run: Run, error: str, said: Any) -> None:
    values = {"run": "r", "study": "r", "trial": 0, "attempt": 0, "kind": "search"}
    said.put((error, write_once(run, {**values, "state": "FAIL", "error": error})))


def test_of_two_writers_of_one_row_one_is_told_no(run: Run) -> None:
    """On two nodes, where a lock may not reach."""
    said = FORK.SimpleQueue()
    names = [f"writer {number}" for number in range(6)]
    writers = [FORK.Process(target=_write, args=(run, name, said)) for name in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    answers = dict(said.get() for _ in writers)
    (first,) = (name for name, written in answers.items() if written)
    assert list(read_rows(run.path)["error"]) == [first]


def test_a_trial_whose_worker_died_between_queueing_and_asking_keeps_its_parameters(
    run: Run,
) -> None:
    """Optuna sets them as it is asked for them; without, the row had no param_ and TPE no point."""
    from optuna import Study

    from sweeps.study.proposals import propose

    work_together(run, 1, stop_after(run, 5))
    study = open_study(run)
    point = propose(study, run.sweep, seed=7)
    assert point is not None
    with pytest.MonkeyPatch.context() as patch, locked_study(run) as study:
        patch.setattr(Study, "ask", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            start_point(study, run.sweep, point)
    claim = worker.next_attempt(run, make_job(run), run.profile.job("worker"), worker=0)
    assert claim is not None and claim.params == point.params
    assert open_study(run).trials[claim.number].params == point.params
    assert worker.record(run, claim, {"state": "FAIL", "error": "x"})
    row = read_rows(run.path).set_index("trial").loc[claim.number]
    assert {name: row[f"param_{name}"] for name in point.params} == point.params


def test_a_row_names_the_code_that_ran_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is resumed after an update: an attempt of the old code, two of the new."""
    resources = run.profile.job("worker")
    monkeypatch.setattr(attempts, "code_commit", lambda: "old")
    job = make_job(run)
    assert worker.next_attempt(run, job, resources, worker=0) is not None
    monkeypatch.setattr(attempts, "code_commit", lambda: "new")
    for _ in range(2):  # The same trial, taken over by its requeued job; then another one.
        claim = worker.next_attempt(run, replace(job, restarts=1), resources, worker=0)
        assert claim is not None and worker.record(run, claim, {"state": "FAIL", "error": "x"})
    rows = read_rows(run.path).sort_values(["trial", "attempt"])
    assert list(rows["state"]) == ["LOST", "FAIL", "FAIL"]
    assert list(rows["git_commit"]) == ["old", "new", "new"]


@pytest.mark.parametrize("error", [RuntimeError("boom"), worker.DivergedError("loss is nan")])
def test_a_failed_trial_is_a_row_with_its_reason_and_no_number(run: Run, error: Exception) -> None:
    def fail(recipe: Recipe) -> None:
        if recipe.bits == 8:  # the reference point of quantization for one
            raise error

    work_together(run, 2, fail)
    check_whole(run, 12)
    rows = read_rows(run.path)
    failed = rows[rows["state"] == "FAIL"]
    assert len(failed) and failed["error"].str.contains(str(error)).all()
    assert failed[["accuracy_test", "size_bytes", "speedup_b1"]].isna().all().all()
    assert (failed["attempt"] == 0).all(), "a Python error is not tried again"


@pytest.mark.parametrize(
    ("error", "said", "traced"),
    [
        (UserError("layers must be 1 to 3, got 4"), "layers must be 1 to 3, got 4", False),
        (ValueError("shapes differ"), "ValueError: shapes differ", True),
    ],
)
def test_a_refused_recipe_is_one_line_and_a_defect_names_its_type(
    run: Run, capfd: pytest.CaptureFixture[str], error: Exception, said: str, traced: bool
) -> None:
    def fail(recipe: Recipe) -> None:
        if recipe.bits == 8:
            raise error

    work_together(run, 1, fail)
    rows = read_rows(run.path)
    assert set(rows.loc[rows["state"] == "FAIL", "error"]) == {said}
    assert ("Traceback" in capfd.readouterr().err) == traced


def test_memory_that_a_trial_lacks_is_not_its_failure(run: Run) -> None:
    """As when the kernel kills the measuring process alone.

    This profile has no more memory to give, so the trial is tried as often as `retries` says.
    """

    def starve(recipe: Recipe) -> None:
        if recipe.bits == 2:
            raise MemoryError("the measuring process was killed")

    work_together(run, 1, starve)
    lost = read_rows(run.path).set_index("state").loc[["LOST"]]
    assert set(lost["lost_cause"]) == {"out_of_memory"}
    assert len(lost) and lost["error"].str.startswith("out of memory: ").all()
    attempts = lost.groupby("trial").size()
    assert set(attempts) == {run.profile.retries.out_of_memory + 1}
    failed = {t.number for t in open_study(run).trials if t.state == TrialState.FAIL}
    assert failed == set(attempts.index)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("measuring failed (exit 1): MemoryError: std::bad_alloc"),
    ],
)
def test_memory_that_torch_lacks_is_no_failure_either(run: Run, error: Exception) -> None:
    def starve(recipe: Recipe) -> None:
        if recipe.bits == 2:
            raise error

    work_together(run, 1, starve)
    lost = read_rows(run.path).set_index("state").loc[["LOST"], "error"]
    assert lost.eq(f"out of memory: {error}").all()


def trials_that_took(seconds: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"state": "COMPLETE", "seconds_total": pd.Series(seconds, dtype=float)})


@pytest.mark.parametrize(
    ("left_s", "seconds", "starts"),
    [
        (50, [100.0], False),
        (150, [100.0], False),  # Slurm's warning comes 60 s before the end
        (170, [100.0, 20.0], True),
        (50, [], True),  # nothing is known
        (None, [100.0], True),
    ],
)
def test_no_trial_is_started_that_would_not_end_in_time(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    left_s: float | None,
    seconds: list[float],
    starts: bool,
) -> None:
    resources = run.profile.job("worker")
    rows = trials_that_took(seconds)
    rows.loc[len(rows)] = {"state": "FAIL", "seconds_total": 1e9}
    monkeypatch.setattr(worker, "read_rows", lambda _: rows)
    job = replace(make_job(run), end_time=None if left_s is None else time.time() + left_s)
    assert worker._time_suffices(run, job, resources) == starts


def test_the_first_trial_of_a_job_starts_whatever_the_time_left(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "read_rows", lambda _: trials_that_took([100.0]))
    process = FORK.Process(target=work, args=(run, 0), kwargs={"left_s": 50.0})
    process.start()
    process.join(120)
    assert len(read_rows(run.path)) == 1


def test_a_requeued_job_goes_on_with_its_own_trial(run: Run) -> None:
    job, resources = make_job(run), run.profile.job("worker")
    first = worker.next_attempt(run, job, resources, worker=0)
    again = replace(job, restarts=1)
    second = worker.next_attempt(run, again, resources, worker=0)
    assert first is not None and second is not None
    assert (second.number, second.attempt) == (first.number, 1)
    assert read_rows(run.path)["error"].iloc[0].startswith("preempted: ")


def test_a_trial_whose_worker_died_before_its_claim_is_taken_at_once(run: Run) -> None:
    """Killed between asking and claiming: whoever resumes must not have to wait for it."""
    with locked_study(run) as study:
        assert start_waiting(study, run.sweep) is not None
    assert not list(run.claims.iterdir())
    work_together(run, 2)
    check_whole(run, 12)


def test_a_full_disk_leaves_no_half_row_and_the_trial_is_run_again(run: Run) -> None:
    import resource

    def fill(recipe: Recipe) -> None:
        if recipe.bits == 2:  # no file of this process may grow beyond 200 bytes from now on
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))

    work_together(run, 1, fill)
    assert not list(run.rows.glob(".*")) and len(read_rows(run.path)) < 12
    work_together(run, 1)
    check_whole(run, 12)
