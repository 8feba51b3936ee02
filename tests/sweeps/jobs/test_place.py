"""A full disk, a broken node, a driver: no trial fails of it, and its node is left to others."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from analysis.rows.table import read_rows, write_row
from lmopt.methods.recipe import Recipe
from slurm.records import Exit, write_record
from sweeps.jobs import finalizer, launch, streaks
from sweeps.run.directory import Run
from sweeps.run.rounds import Round, bad_nodes, rounds, worker_losses, write_round
from sweeps.study import healing
from sweeps.study.study import open_study
from tests.sweeps.small_run import make_job
from tests.sweeps.workers import FORK, check_whole, work, work_together


def full(recipe: Recipe) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "/scratch/cache")


def full_for(trials: int) -> Callable[[Recipe], None]:
    """A disk that somebody else's job fills for a while."""
    seen: list[Recipe] = []

    def before(recipe: Recipe) -> None:
        seen.append(recipe)
        if len(seen) <= trials:
            full(recipe)

    return before


def test_no_trial_fails_of_a_full_disk(run: Run) -> None:
    """12 of 12 trials failed in a second, and resume had nothing to do."""
    work_together(run, 1, full)
    rows = read_rows(run.path)
    assert set(rows["state"]) == {"LOST"} and set(rows["lost_cause"]) == {"place"}
    assert rows["error"].str.startswith("trouble of the place: OSError: [Errno 28]").all()
    assert not open_study(run).get_trials(states=(TrialState.FAIL,))
    assert len(finalizer.heal(run)) == len(rows)
    work_together(run, 2)
    check_whole(run, 12)
    assert read_rows(run.path)["state"].eq("COMPLETE").sum() == 12


def test_a_node_with_several_in_a_row_is_left(run: Run) -> None:
    """The worker ends, and says so: the trials it would burn are those of other nodes."""
    process = FORK.Process(target=work, args=(run, 0, full))
    process.start()
    process.join(120)
    assert process.exitcode == 1
    assert len(read_rows(run.path)) == streaks.PLACE_STREAK
    short = FORK.Process(target=work, args=(run, 0, full_for(streaks.PLACE_STREAK - 1)))
    short.start()
    short.join(120)
    assert short.exitcode == 0, "trouble that passes ends nobody"


def test_only_the_attempts_of_this_host_since_this_job_began_count(run: Run) -> None:
    work_together(run, 1, full)
    job = make_job(run)
    assert not streaks.is_bad_place(run, job), "a person resumed, the disk may have room again"
    began = replace(job, started=0.0)
    assert streaks.is_bad_place(run, began)
    assert not streaks.is_bad_place(run, replace(began, host="elsewhere"))


def test_the_next_round_stays_away_from_a_node_that_was_left(run: Run) -> None:
    for job_id, state in (("11", "PLACE_FAIL"), ("12", "DONE")):
        write_record(replace(make_job(run), job_id=job_id, node=f"n{job_id}"), run.jobs)
        write_record(Exit(job_id, state, None, 0, 0.0, 1.0, 1.0, 1), run.jobs)  # type: ignore[arg-type]
    assert bad_nodes(run, ["11", "12", "13"]) == {"n11"}
    profile = run.profile.model_copy(update={"exclude": "n9"})
    grown = finalizer.grow(replace(run, profile=profile), [], bad_nodes(run, ["11", "12"]))
    assert grown.exclude == "n9,n11"


def make_round(run: Run, number: int, **changes: Any) -> Round:
    values = {"prepare": ["p"], "workers": [f"w{number}"], "finalize": ["f"], "guards": ["g"]}
    made = Round(
        number=number, submitted_utc=f"2026-01-0{number + 1}T00:00:00+00:00", **values | changes
    )
    write_round(run, made)
    return made


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that left their node, behind a prepare job that was done."""

    def states(jobs: list[str], _: Path) -> dict[str, str]:
        return {job: "DONE" if job == "p" else "PLACE_FAIL" for job in jobs}

    monkeypatch.setattr(finalizer, "known_states", states)


def lose(run: Run, number: int, job_id: str) -> None:
    row = {"run": "r", "study": "r", "trial": number, "attempt": 0, "kind": "search"}
    lost = {"state": "LOST", "lost_cause": "place", "error": "full", "job_id": job_id}
    write_row(row | lost, run.row_path(number, 0))


def test_a_run_whose_place_stays_bad_stops_before_its_trials_are_used_up(
    run: Run, ended: None
) -> None:
    """And a person who resumes it has all the tries again."""
    limit = run.profile.retries.place
    for number in range(limit):
        lose(run, number, f"w{number}")
        assert finalizer.why_stop(run, make_round(run, number)) is None
    lose(run, limit, f"w{limit}")
    write_record(Exit(f"w{limit}", "PLACE_FAIL", "no space", 0, 0.0, 1.0, 1.0, 1), run.jobs)
    said = finalizer.why_stop(run, make_round(run, limit))
    assert said is not None and "{'place': 4}" in said and f"job w{limit} with no space" in said
    assert worker_losses(run) == {"place": 4}
    resumed = make_round(run, limit + 1, reason="resume")
    assert finalizer.why_stop(run, resumed) is None


def test_a_prepare_job_that_left_its_node_is_tried_elsewhere(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        finalizer, "known_states", lambda jobs, _: dict.fromkeys(jobs, "PLACE_FAIL")
    )
    write_record(replace(make_job(run), job_id="p", node="n7"), run.jobs)
    write_record(Exit("p", "PLACE_FAIL", "no driver", 0, 0.0, 1.0, 1.0, 1), run.jobs)
    asked: list[Any] = []

    def submit(_: Any, kind: str, *__: Any, **named: Any) -> list[str]:
        asked.append((kind, named.get("resources")))
        return [kind]

    monkeypatch.setattr(launch, "submit", submit)
    assert finalizer.why_stop(run, make_round(run, 0)) is None
    finalizer._launch_next(run, 0, [])
    assert next(resources.exclude for kind, resources in asked if kind == "prepare") == "n7"
    for number in range(1, run.profile.retries.place + 1):
        said = finalizer.why_stop(run, make_round(run, number))
    assert said is not None and "lost too often: {'place': 4}, job p with no driver" in said


def test_a_lost_trial_is_not_taken_again_on_its_node_by_the_same_jobs(run: Run) -> None:
    work_together(run, 1, full_for(1))
    rows = read_rows(run.path)
    assert len(rows) == 12 and list(rows["state"]).count("LOST") == 1
    (lost,) = finalizer.heal(run)
    assert (lost.claim.number, lost.cause) == (0, "place")


def test_gpu_memory_is_not_grown_by_more_of_the_hosts(run: Run) -> None:
    """mem_gb is the host's: a larger job would run out in the same way, and wait longer."""

    def starve(recipe: Recipe) -> None:
        if recipe.bits == 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    run = replace(run, profile=run.profile.model_copy(update={"mem_gb": 4.0}))
    work_together(run, 1, starve)
    rows = read_rows(run.path)
    lost = rows[rows["state"].eq("LOST")]
    assert set(lost["lost_cause"]) == {"out_of_gpu_memory"}
    assert lost["error"].str.endswith("; lower batch_size").all()
    assert set(lost.groupby("trial").size()) == {run.profile.retries.out_of_gpu_memory + 1}
    given_up = rows[rows["lost_cause"].eq("given_up")]
    assert set(given_up["trial"]) == set(lost["trial"])
    assert given_up["error"].str.contains("lower batch_size").all()
    orphan = healing.Orphan(healing.claims.of_trial(run, int(lost["trial"].iloc[0]))[0], "x")
    assert finalizer.grow(run, [orphan]).mem_gb == 4.0


def fail_from(trials: int) -> Callable[[Recipe], None]:
    seen: list[Recipe] = []

    def before(recipe: Recipe) -> None:
        seen.append(recipe)
        if len(seen) > trials:
            raise ValueError("a mistake of the sweep")

    return before


def test_trials_that_all_fail_stop_the_run(run: Run, ended: None) -> None:
    make_round(run, 0, reason="submit")
    process = FORK.Process(target=work, args=(run, 0, fail_from(3)))
    process.start()
    process.join(120)
    assert process.exitcode == 1
    rows = read_rows(run.path)
    limit = run.sweep.study.max_failures
    assert limit is not None and len(rows) == 3 + limit < run.trials
    said = finalizer.why_stop(run, rounds(run)[0])
    assert said == streaks.why_failing(run)
    assert said is not None and said.startswith(
        f"{limit} trials in a row failed (study.max_failures), the last with ValueError: a mistake"
    )
    assert f"'lmopt resume {run.path} --retry-failed' runs them again" in said
    second = FORK.Process(target=work, args=(run, 1))
    second.start()
    second.join(120)
    assert len(read_rows(run.path)) == len(rows), "no other worker starts a trial"


def test_a_person_who_resumes_has_seen_the_failures(run: Run) -> None:
    make_round(run, 0, reason="submit")
    work_together(run, 1, fail_from(0))
    assert streaks.why_failing(run) is not None
    future = make_round(run, 1, reason="resume")
    write_round(run, replace(future, submitted_utc="2100-01-01T00:00:00+00:00"))
    assert streaks.why_failing(run) is None


@pytest.mark.parametrize("limit", [None, 13])
def test_a_sweep_may_let_every_trial_fail(run: Run, limit: int | None) -> None:
    study = run.sweep.study.model_copy(update={"max_failures": limit})
    text = (run.path / "sweep.yaml").read_text()
    written = "null" if limit is None else str(limit)
    (run.path / "sweep.yaml").write_text(
        text.replace("max_failures: 5", f"max_failures: {written}")
    )
    run = replace(run, sweep=run.sweep.model_copy(update={"study": study}))
    work_together(run, 2, fail_from(0))
    assert list(read_rows(run.path)["state"]) == ["FAIL"] * 12
