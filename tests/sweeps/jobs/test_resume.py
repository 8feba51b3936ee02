"""Going on with a run: trials that failed, a budget that changes while jobs work, what to say."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from optuna.trial import TrialState

from analysis.rows.table import final_attempts, read_rows
from lmopt.methods.recipe import Recipe
from slurm.records import Exit, write_record
from sweeps.definition.errors import ConfigError
from sweeps.jobs import finalizer, launch
from sweeps.jobs.resume import resume_run
from sweeps.run.directory import Run, budget, open_run
from sweeps.run.files import write_json
from sweeps.run.rounds import Round, why_idle, write_round
from sweeps.study.study import locked_study, open_study, start_waiting
from tests.sweeps.small_run import make_job
from tests.sweeps.workers import check_whole, work_together


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A scheduler that takes every job and runs none; the kinds that were submitted."""
    kinds: list[str] = []

    def submit(_: Any, kind: str, *__: Any, **___: Any) -> list[str]:
        kinds.append(kind)
        return [f"local-{kind}-{len(kinds)}"]

    monkeypatch.setattr(launch, "submit", submit)
    return kinds


def fails_with(bits: int) -> Callable[[Recipe], None]:
    def before(recipe: Recipe) -> None:
        if recipe.bits == bits:
            raise ValueError("not a number of bits that this version knows")

    return before


def test_failed_trials_run_again_under_their_numbers(run: Run, submitted: list[str]) -> None:
    work_together(run, 2, fails_with(4))
    rows = read_rows(run.path)
    failed = list(rows.loc[rows["state"].eq("FAIL"), "trial"])
    params = {t.number: t.params for t in open_study(run).trials}
    assert failed
    write_json(run.path / "finished.json", {"trials": 12})
    assert "failed again with --retry-failed" in resume_run(run, None).said and not submitted
    assert resume_run(run, None, retry_failed=True).submitted
    states = [trial.state for trial in open_study(run).trials]
    assert [n for n, state in enumerate(states) if state == TrialState.WAITING] == failed
    work_together(run, 2)
    check_whole(run, 12)
    rows = read_rows(run.path)
    for number in failed:
        assert list(rows.query(f"trial == {number}")["state"]) == ["FAIL", "COMPLETE"]
    assert {t.number: t.params for t in open_study(run).trials} == params
    write_json(run.path / "finished.json", {"trials": 12})
    assert not resume_run(run, None, retry_failed=True).submitted


def test_a_trial_that_fails_again_has_failed(run: Run, submitted: list[str]) -> None:
    work_together(run, 1, fails_with(8))
    resume_run(run, None, retry_failed=True)
    work_together(run, 1, fails_with(8))
    rows = read_rows(run.path)
    again = rows[rows["attempt"].eq(1)]
    assert len(again) and again["state"].eq("FAIL").all()
    assert not open_study(run).get_trials(states=(TrialState.WAITING, TrialState.RUNNING))
    run.journal.unlink()
    check_whole(run, 12)


def test_a_failed_trial_whose_worker_dies_before_its_claim_is_not_failed_again(
    run: Run, submitted: list[str]
) -> None:
    """The row of the attempt that failed must not be told of the one that is to come."""
    work_together(run, 1, fails_with(4))
    resume_run(run, None, retry_failed=True)
    with locked_study(run) as study:
        started = start_waiting(study, run.sweep)
    assert started is not None
    work_together(run, 1)
    check_whole(run, 12)
    assert final_attempts(read_rows(run.path))["state"].eq("COMPLETE").all()


def test_a_trial_that_was_given_up_has_all_its_tries_again(run: Run, submitted: list[str]) -> None:
    def starve(recipe: Recipe) -> None:
        if recipe.bits == 2:
            raise MemoryError("the measuring process was killed")

    work_together(run, 1, starve)
    given_up = read_rows(run.path).query("lost_cause == 'given_up'")
    assert len(given_up)
    resume_run(run, None, retry_failed=True)
    work_together(run, 1, starve)
    lost = read_rows(run.path).query("lost_cause == 'out_of_memory'").groupby("trial").size()
    assert set(lost) == {2 * (run.profile.retries.out_of_memory + 1)}


def working(run: Run) -> None:
    """Let a job of the run live, as far as anybody can tell: this process."""
    job = make_job(run, "local-alive")
    (run.jobs / f"{job.job_id}_submitted.pkl").touch()


def test_the_budget_changes_while_jobs_work(run: Run, submitted: list[str]) -> None:
    """And a worker that opened the run before sees it."""
    working(run)
    small = replace(run, trials=12)
    resumed = resume_run(run, 14)
    assert (resumed.submitted, resumed.working) == (False, True) and not submitted
    assert resumed.said == "the budget is 14 trials now; 1 job at work will see it"
    work_together(small, 2)
    check_whole(run, 14)
    with pytest.raises(ConfigError, match="14 are there, got 13"):
        resume_run(run, 13)
    with pytest.raises(ConfigError, match="waiting or running"):
        resume_run(run, 20, retry_failed=True)
    assert budget(run) == 14


def test_a_budget_that_is_raised_as_the_finalizer_ends_is_not_forgotten(
    run: Run, monkeypatch: pytest.MonkeyPatch, submitted: list[str]
) -> None:
    """It was read before; without a second look the run would be finished with trials to go."""
    work_together(run, 1)
    write_round(run, Round(0, ["p"], ["w"], ["f"], "2026-01-01T00:00:00+00:00", guards=["g"]))
    monkeypatch.setattr(finalizer, "this_job", lambda: make_job(run, "f"))
    monkeypatch.setattr(finalizer, "known_states", lambda jobs, _: dict.fromkeys(jobs, "DONE"))

    def time_front(*_: Any) -> None:
        working(run)
        if budget(run) == 12:
            assert resume_run(open_run(run.path), 14).working

    monkeypatch.setattr(finalizer, "time_front", time_front)
    monkeypatch.setattr(finalizer, "prune_artifacts", lambda _: None)
    finalizer.finalize(str(run.path), 0)
    assert submitted == ["prepare", "worker", "finalize", "finalize"]
    assert not (run.path / "finished.json").exists()


def test_a_run_that_is_finished_but_for_its_last_job_is_not_given_more(
    run: Run, submitted: list[str]
) -> None:
    working(run)
    write_json(run.path / "finished.json", {"trials": 12})
    with pytest.raises(ConfigError, match=r"about to end: wait .* resume .* --trials 14"):
        resume_run(run, 14)
    assert budget(run) == 12


def test_a_failed_prepare_job_is_named_with_its_cause_and_no_resume_before_it_is_mended(
    run: Run,
) -> None:
    """Resuming would fail in the same way; it was the one thing that status advised."""
    write_round(run, Round(0, ["p"], ["w"], ["f"], "2026-01-01T00:00:00+00:00", guards=["g"]))
    error = "ValueError: column 'topic' is not in data.csv"
    write_record(Exit("p", "FAILED", error, 0, 0.0, 1.0, 1.0, 1), run.jobs)
    write_record(Exit("f", "FAILED", "the prepare job ended", 0, 0.0, 1.0, 1.0, 1), run.jobs)
    said = why_idle(run, {"p": "FAILED", "w": "CANCELLED", "f": "FAILED"})
    assert said == (
        f"the prepare job p failed with {error}; 'lmopt resume' would meet it again: mend the"
        f" cause first ('lmopt logs {run.path}' says more), or submit a corrected sweep under"
        f" another name; then 'lmopt resume {run.path}'"
    )
    lost = why_idle(run, {"p": "OUT_OF_MEMORY", "w": "CANCELLED", "f": "FAILED"})
    assert lost is not None and "would meet it again" not in lost
