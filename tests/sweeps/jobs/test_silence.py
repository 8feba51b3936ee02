"""Slurm that does not answer: nothing is known of any job, so nothing is decided about one."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from analysis.rows.table import read_rows
from slurm.commands import SilentControllerError
from slurm.profile import Profile
from sweeps.jobs import finalizer, patience, resume
from sweeps.run.directory import Run
from sweeps.study.attempts import next_attempt
from tests.slurm.fake_slurm import FakeSlurm
from tests.sweeps.small_run import make_job

UNKNOWN = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Slurm's commands, of which squeue is killed each time."""
    commands = tmp_path / "commands"
    commands.mkdir()
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    made = FakeSlurm(commands)
    made.answers("squeue", "kill -9 $$")
    return made


@pytest.fixture
def run(run: Run) -> Run:
    """A run on Slurm whose job 11 is in the middle of a trial, as far as anybody knows."""
    run = replace(run, profile=Profile(scheduler="slurm", time_min=10))
    job = replace(make_job(run, "11"), scheduler="slurm")
    assert next_attempt(run, job, run.profile.job("worker"), worker=0) is not None
    (run.jobs / "11_submitted.pkl").touch()
    return run


def test_no_worker_takes_a_trial_over(run: Run, fake: FakeSlurm) -> None:
    me = make_job(run, "12")
    taken = [next_attempt(run, me, run.profile.job("worker"), worker=1) for _ in range(11)]
    assert {claim.attempt for claim in taken if claim} == {0}
    assert next_attempt(run, me, run.profile.job("worker"), worker=1) is None
    assert read_rows(run.path).empty
    fake.answers("squeue", "echo '12|RUNNING|None'")
    again = next_attempt(run, me, run.profile.job("worker"), worker=1)
    assert again is not None and (again.number, again.attempt) == (0, 1)


def test_the_finalizer_waits_for_an_answer(
    run: Run, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take a dead trial for a running one, and finish the run without it."""
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            fake.answers("squeue", UNKNOWN)

    monkeypatch.setattr(patience, "time", SimpleNamespace(sleep=sleep))
    (lost,) = patience.ask_patiently(lambda: finalizer.heal(run))
    assert lost.claim.number == 0 and len(waited) == 3
    assert list(read_rows(run.path)["state"]) == ["LOST"]


def test_resume_decides_nothing_without_an_answer(run: Run, fake: FakeSlurm) -> None:
    with pytest.raises(SilentControllerError, match="Slurm does not answer: squeue was ended"):
        resume.resume_run(run, None)
    assert read_rows(run.path).empty
