"""Finalizers that die: who goes on, with what, how often, and what half a submission leaves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from slurm.job_process import resolve
from slurm.profile import JobResources
from slurm.states import JobState
from sweeps.jobs import finalizer as finalize
from sweeps.jobs import front_timing as front
from sweeps.jobs import guard, launch
from sweeps.jobs.launch import take_back
from sweeps.run import rounds
from sweeps.run.directory import Run
from sweeps.run.rounds import Round, round_states, why_idle, write_round
from tests.sweeps.small_run import make_job


@dataclass
class Queue:
    """A scheduler that takes everything and runs nothing."""

    states: dict[str, JobState] = field(default_factory=dict)
    asked: dict[str, JobResources] = field(default_factory=dict)
    after: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)

    def submit(
        self, _: Any, kind: str, function: Any, calls: list[Any], *, folder: Path, name: str,
        after: Sequence[str] = (), dependency: str = "afterok", resources: Any = None,
    ) -> list[str]:  # fmt: skip
        job_kind = resolve(function).__name__
        made = [f"{job_kind}-{len(self.asked)}-{index}" for index in range(len(calls))]
        for job in made:
            (folder / f"{job}_submitted.pkl").touch()
            self.states[job], self.asked[job] = "PENDING", resources
            self.after[job] = (dependency, list(after))
        return made

    def job_states(self, jobs: list[str], *_: object) -> dict[str, JobState]:
        return {job: self.states.get(job, "LOST") for job in jobs}

    def cancel(self, jobs: list[str], _: Path) -> None:
        self.cancelled += jobs
        self.states |= dict.fromkeys(jobs, "CANCELLED")


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    made = Queue()
    monkeypatch.setattr(launch, "submit", made.submit)
    monkeypatch.setattr(launch, "cancel", made.cancel)
    monkeypatch.setattr(rounds, "job_states", made.job_states)
    for module in (launch, guard, finalize, front):
        monkeypatch.setattr(module, "known_states", made.job_states)
    return made


@pytest.fixture
def be(monkeypatch: pytest.MonkeyPatch, run: Run) -> Callable[[str], None]:
    """Be the job of an id in this process."""
    return lambda job: monkeypatch.setattr(guard, "this_job", lambda: make_job(run, job))


@pytest.fixture
def run(run: Run) -> Run:
    """With limits that can grow."""
    limits = {"mem_gb": 4.0, "time_min": 10}
    run = replace(run, profile=run.profile.model_copy(update=limits))
    (run.path / "profile.yaml").write_text("scheduler: local\nmem_gb: 4\ntime_min: 10\n")
    return run


def first_round(run: Run, queue: Queue) -> Round:
    made = launch.launch(run, trials_left=2)
    for job in (*made.prepare, *made.workers):
        queue.states[job] = "DONE"
    return made


@pytest.mark.parametrize(
    ("state", "cause", "mem_gb", "time_min"),
    [
        ("OUT_OF_MEMORY", "out_of_memory", 6.0, 10),
        ("TIMEOUT", "timeout", 4.0, 20),
        ("CANCELLED", "lost", 4.0, 10),
        ("LOST", "lost", 4.0, 10),
        ("NODE_FAIL", "node_fail", 4.0, 10),
    ],
)
def test_a_dead_finalizer_is_submitted_again_with_what_it_lacked(
    run: Run, queue: Queue, be: Any, state: JobState, cause: str, mem_gb: float, time_min: int
) -> None:
    made = first_round(run, queue)
    (dead,), (guarding,) = made.finalize, made.guards
    assert queue.after[guarding] == ("afternotok", [dead])
    queue.states |= {dead: state, guarding: "RUNNING"}
    be(guarding)
    guard.replace_finalizer(str(run.path), 0, dead)
    (now,) = rounds.rounds(run)
    assert now.finalize_lost == [cause]
    again, next_guard = now.finalize[-1], now.guards[-1]
    assert again != dead and queue.after[again] == ("afterany", now.workers)
    assert queue.after[next_guard] == ("afternotok", [again])
    assert (queue.asked[again].mem_gb, queue.asked[again].time_min) == (mem_gb, time_min)
    assert not queue.cancelled


def test_a_finalizer_that_dies_for_ever_needs_somebody(run: Run, queue: Queue, be: Any) -> None:
    first_round(run, queue)
    for _ in range(run.profile.retries.lost):
        (now,) = rounds.rounds(run)
        queue.states[now.finalize[-1]] = "LOST"
        be(now.guards[-1])
        guard.replace_finalizer(str(run.path), 0, now.finalize[-1])
    (now,) = rounds.rounds(run)
    queue.states |= {now.finalize[-1]: "LOST", now.guards[-1]: "RUNNING"}
    be(now.guards[-1])
    with pytest.raises(RuntimeError, match="the finalizer was lost too often"):
        guard.replace_finalizer(str(run.path), 0, now.finalize[-1])


@pytest.mark.parametrize("state", ["DONE", "FAILED"])
def test_a_finalizer_that_had_its_say_is_not_replaced(
    run: Run, queue: Queue, be: Any, state: JobState
) -> None:
    made = first_round(run, queue)
    queue.states[made.finalize[0]] = state
    be(made.guards[0])
    guard.replace_finalizer(str(run.path), 0, made.finalize[0])
    assert rounds.rounds(run) == [made]


def test_a_finalizer_that_slurm_requeued_gets_a_new_guard(run: Run, queue: Queue, be: Any) -> None:
    made = first_round(run, queue)
    be(made.guards[0])
    before = set(queue.asked)
    guard.replace_finalizer(str(run.path), 0, made.finalize[0])
    (added,) = set(queue.asked) - before
    assert queue.after[added] == ("afternotok", made.finalize)
    assert rounds.rounds(run)[0].guards == [*made.guards, added]


def test_a_finalizer_killed_after_the_next_round_is_not_missed(
    run: Run, queue: Queue, be: Any
) -> None:
    made = first_round(run, queue)
    following = launch.launch(run, trials_left=1)
    queue.states[made.finalize[0]] = "LOST"
    be(made.guards[0])
    guard.replace_finalizer(str(run.path), 0, made.finalize[0])
    assert rounds.rounds(run) == [made, following]
    assert not finalize._is_mine(run, 0, make_job(run, made.finalize[0]))


def test_half_a_submission_is_taken_back(run: Run, queue: Queue) -> None:
    """Its submitter was killed: of one round the workers are recorded, of another nothing is."""
    made = first_round(run, queue)
    half = launch.launch(run, trials_left=2)
    write_round(run, replace(half, finalize=[], guards=[]))
    (run.jobs / "stray_submitted.pkl").touch()
    queue.states["stray"] = "PENDING"
    assert finalize._is_mine(run, 0, make_job(run, made.finalize[0]))
    assert {*half.jobs, "stray"} == set(queue.cancelled)
    assert rounds.rounds(run) == [made]


def test_a_finalizer_without_a_guard_submits_one(run: Run, queue: Queue) -> None:
    made = first_round(run, queue)
    (finalizer,) = made.finalize
    take_back(run, 0, finalizer)
    write_round(run, replace(made, finalize=[], guards=[]))
    assert finalize._is_mine(run, 0, make_job(run, finalizer))
    (now,) = rounds.rounds(run)
    assert now.finalize == [finalizer] and len(now.guards) == 1
    assert queue.after[now.guards[0]] == ("afternotok", [finalizer])


def test_the_measure_job_is_tried_again_but_not_for_ever(run: Run, queue: Queue) -> None:
    part = first_round(run, queue)
    for attempt in range(run.profile.retries.out_of_memory):
        part = launch.launch_measure(run, part)
        assert queue.asked[part.measure[-1]].mem_gb == 4 * 1.5**attempt
        assert queue.after[part.finalize[-1]] == ("afterany", [part.measure[-1]])
        queue.states[part.measure[-1]] = "OUT_OF_MEMORY"
        part, why_not = front.why_not_measured(run, part)
        assert why_not is None
    part = launch.launch_measure(run, part)
    queue.states[part.measure[-1]] = "OUT_OF_MEMORY"
    assert "lost too often" in str(front.why_not_measured(run, part)[1])
    queue.states[part.measure[-1]] = "FAILED"
    assert "ended as FAILED" in str(front.why_not_measured(run, part)[1])


def test_an_idle_run_says_what_to_do(run: Run, queue: Queue) -> None:
    resume = f"go on with 'lmopt resume {run.path}'"
    assert why_idle(run, round_states(run)) == f"no job was submitted; {resume}"
    made = first_round(run, queue)
    assert why_idle(run, round_states(run)) is None
    queue.states |= {made.finalize[0]: "LOST", made.guards[0]: "LOST"}
    said = why_idle(run, round_states(run))
    assert said == f"the finalize job {made.finalize[0]} ended as LOST; {resume}"
    queue.states[made.finalize[0]] = "HELD"
    assert f"scontrol release {made.finalize[0]}" in str(why_idle(run, round_states(run)))


def test_a_guard_that_was_not_needed_is_not_shown(run: Run, queue: Queue) -> None:
    made = first_round(run, queue)
    queue.states |= {made.finalize[0]: "DONE", made.guards[0]: "CANCELLED"}
    assert set(round_states(run)) == {*made.prepare, *made.workers, *made.finalize}
