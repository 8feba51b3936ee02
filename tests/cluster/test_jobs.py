"""Submission, states and faults of jobs on a real Slurm."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import psutil
import pytest

from slurm.accounting import job_accounting, sacct_core_hours
from slurm.commands import cluster_facts, submission_room
from slurm.devcluster import cluster as devcluster
from slurm.profile import Profile
from slurm.records import current_job, read_exit, read_start
from slurm.states import cancel, job_states, log_paths
from slurm.submit import SubmissionError, render, submit
from tests.cluster.small_sweep import PATIENCE, limit_jobs

if TYPE_CHECKING:
    from tests.cluster.conftest import Cluster

pytestmark = pytest.mark.cluster
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def _profile(cluster: Cluster, *, node: int | None = None, **values: object) -> Profile:
    """Jobs of one core and little memory, on one node of the cluster if it is named."""
    others = [name for index, name in enumerate(cluster.config.nodes) if index != node]
    exclude = {} if node is None else {"exclude": ",".join(others)}
    defaults = {"scheduler": "slurm", "partition": "batch", "time_min": 5, "mem_gb": 0.5}
    return Profile.model_validate(defaults | exclude | values)


def _note(path: Path) -> None:
    job = current_job()
    assert job is not None
    with path.open("a") as file:
        file.write(json.dumps({"at": time.time(), "left": job.seconds_left(), **vars(job)}) + "\n")


def _note_and_sleep(path: Path, seconds: float = 600) -> None:
    _note(path)
    time.sleep(seconds)


def _notes(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _until(condition: Callable[[], bool], timeout_seconds: float = 180) -> None:
    deadline = time.monotonic() + PATIENCE * timeout_seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@dataclass(frozen=True)
class Slow:
    """Jobs that take their time: they are started first and looked at last."""

    folder: Path
    overdue: str  # goes on past its limit of a minute
    warned: str  # gets the signal that Slurm sends before a limit, and may requeue itself once


@pytest.fixture(scope="module")
def slow(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Slow:
    folder = tmp_path_factory.mktemp("slow")

    def work(path: Path) -> None:
        _note(path)
        if len(_notes(path)) == 1:
            time.sleep(600)

    job_ids = [
        submit(profile, "worker", work, [(folder / name,)], folder=folder, name="slow")[0]
        for profile, name in (
            (_profile(cluster, node=2, time_min=1), "overdue"),
            (_profile(cluster, node=2, timeout_requeues=1), "warned"),
        )
    ]
    _until((folder / "warned").exists)
    devcluster.call(cluster.folder, "scancel", "--batch", "--signal=USR2", job_ids[1])
    return Slow(folder, *job_ids)


def test_the_facts_of_the_cluster(cluster: Cluster, slow: Slow) -> None:
    facts = cluster_facts()
    assert facts.max_array_size == cluster.config.max_array_size
    assert (facts.preempt_type, facts.preempt_mode) == ("preempt/partition_prio", "REQUEUE")
    assert facts.accounting
    assert submission_room() is None


def test_states_survive_a_restart_of_the_controller(cluster: Cluster, tmp_path: Path) -> None:
    release = tmp_path / "release"

    def work() -> None:
        _note(tmp_path / "w")
        _until(release.exists)

    profile = _profile(cluster)
    (job_id,) = submit(profile, "worker", work, [()], folder=tmp_path, name="t")
    _until((tmp_path / "w").exists)
    devcluster.stop_controller(cluster.folder)
    try:
        with ThreadPoolExecutor() as pool:  # each waits for some 10 s
            states = pool.submit(job_states, [job_id], tmp_path)
            with pytest.raises(SubmissionError, match="Unable to contact slurm controller"):
                submit(profile, "worker", _note, [()], folder=tmp_path, name="t")
            assert states.result() == {job_id: "RUNNING"}
    finally:
        devcluster.start_controller(cluster.folder)
    assert job_states([job_id], tmp_path) == {job_id: "RUNNING"}
    release.touch()
    assert cluster.wait([job_id], tmp_path) == {job_id: "DONE"}


def test_squeue_tells_jobs_that_it_does_not_know_from_no_answer(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of the real one, for one job and for several."""
    release = tmp_path / "release"

    def work() -> None:
        _note(tmp_path / "w")
        _until(release.exists)

    (job_id,) = submit(_profile(cluster), "worker", work, [()], folder=tmp_path, name="t")
    _until((tmp_path / "w").exists)
    assert job_states(["987654"], tmp_path) == {"987654": "LOST"}
    both = {job_id: "RUNNING", "987654": "LOST"}
    assert job_states([job_id, "987654"], tmp_path) == both
    heard: list[str] = []
    with monkeypatch.context() as patch:
        patch.setenv("SLURM_CONF", "/nowhere/slurm.conf")
        states = job_states([job_id, "987654"], tmp_path, heard.append)
    assert states == {job_id: "RUNNING", "987654": "PENDING"} and len(heard) == 1
    release.touch()
    assert cluster.wait([job_id], tmp_path) == {job_id: "DONE"}


def test_split_arrays_dependencies_and_accounting(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stray slurm.py lies where the jobs run; 8 tasks are more than an array may have."""
    out = tmp_path / 'it\'s a "folder"; $HOME & more'
    folder = out / "jobs"
    out.mkdir()
    (out / "slurm.py").write_text("raise SystemExit('a stray module')")
    monkeypatch.chdir(out)
    profile = _profile(cluster)
    first = submit(profile, "prepare", _note, [(out / "p",)], folder=folder, name="t")
    calls = [(out / f"w{index}",) for index in range(8)]
    workers = submit(profile, "worker", _note, calls, folder=folder, name="t", after=first)
    last = submit(
        profile, "finalize", _note, [(out / "f",)], folder=folder, name="t", after=workers
    )
    assert len({job_id.split("_")[0] for job_id in workers}) == 2
    states = cluster.wait([*first, *workers, *last], folder)
    assert set(states.values()) == {"DONE"}
    (prepared,), (finalized,) = _notes(out / "p"), _notes(out / "f")
    worked = [_notes(path)[0] for (path,) in calls]
    assert [note["job_id"] for note in worked] == workers
    assert prepared["at"] < min(note["at"] for note in worked)
    assert max(note["at"] for note in worked) < finalized["at"]
    assert all(200 < note["left"] <= 300 for note in (prepared, *worked))
    array = workers[0].split("_")[0]
    script = (folder / f"{array}_submission.sh").read_text()
    assert script in render(profile, "worker", folder=folder, name="t", tasks=8, after=first)
    _until(lambda: sacct_core_hours([*workers]) is not None)
    own = sum(usage.core_hours for usage in job_accounting(workers, folder).values())
    assert own == pytest.approx(sacct_core_hours(workers), abs=8 * 2 / 3600)  # sacct's are whole


def test_a_failed_dependency_and_a_cancelled_task(cluster: Cluster, tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    profile = _profile(cluster)
    calls = [(tmp_path / "0",), (tmp_path / "1", 3)]
    failing = submit(profile, "prepare", fail, [()], folder=tmp_path, name="t")
    strict = submit(
        profile, "worker", _note, [(tmp_path / "s",)], folder=tmp_path, name="t", after=failing
    )
    tasks = submit(profile, "worker", _note_and_sleep, calls, folder=tmp_path, name="t")
    lenient = submit(
        profile,
        "finalize",
        _note,
        [(tmp_path / "l",)],
        folder=tmp_path,
        name="t",
        after=[*failing, *tasks],
        dependency="afterany",
    )
    _until((tmp_path / "0").exists)
    cancel([tasks[0]], tmp_path)
    states = cluster.wait([*failing, *strict, *tasks, *lenient], tmp_path)
    assert list(states.values()) == ["FAILED", "CANCELLED", "CANCELLED", "DONE", "DONE"]
    exit = read_exit(failing[0], tmp_path)
    assert exit is not None
    assert exit.error == "ValueError: on purpose"
    _until(lambda: read_exit(tasks[0], tmp_path) is not None)  # slurmctld knew it before the job
    ended = read_exit(tasks[0], tmp_path)
    assert ended is not None
    assert ended.error == "ended by SIGTERM"  # it does not take a SIGKILL, KillWait later
    assert "on purpose" in log_paths(failing[0], tmp_path)[1].read_text()


def test_kill_9_and_out_of_memory(cluster: Cluster, tmp_path: Path) -> None:
    def eat() -> None:
        eaten = bytearray(700 * 2**20)
        eaten[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(eaten[:: os.sysconf("SC_PAGE_SIZE")])

    profile = _profile(cluster, node=0)
    hungry = submit(profile, "worker", eat, [()], folder=tmp_path, name="t")
    killed = submit(
        profile, "worker", _note_and_sleep, [(tmp_path / "k",)], folder=tmp_path, name="t"
    )
    _until((tmp_path / "k").exists)
    os.kill(_notes(tmp_path / "k")[0]["pid"], signal.SIGKILL)
    states = cluster.wait([*hungry, *killed], tmp_path)
    assert states[killed[0]] == "LOST"
    assert states[hungry[0]] == ("OUT_OF_MEMORY" if cluster.config.cgroups else "DONE")


def test_preemption_requeues_under_the_same_id(cluster: Cluster, tmp_path: Path) -> None:
    profile = _profile(cluster, node=0, cpus=2)
    urgent = _profile(cluster, node=0, cpus=2, partition="urgent")
    calls = [(tmp_path / "w", 6)]
    (job_id,) = submit(profile, "worker", _note_and_sleep, calls, folder=tmp_path, name="t")
    _until((tmp_path / "w").exists)
    preempting = submit(urgent, "worker", _note, [(tmp_path / "u",)], folder=tmp_path, name="u")
    cluster.wait([job_id], tmp_path, lambda states: states[job_id] == "PENDING")
    states = cluster.wait([job_id, *preempting], tmp_path)
    assert set(states.values()) == {"DONE"}
    first, second = _notes(tmp_path / "w")
    assert (first["job_id"], second["job_id"]) == (job_id, job_id)
    assert (first["restarts"], second["restarts"]) == (0, 1)
    usage = job_accounting([job_id], tmp_path)[job_id]
    assert usage.elapsed_seconds > 6 + second["earlier_seconds"] > 6


def test_a_lost_node_requeues_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    """The processes of the lost node run on and end last: they must not speak for the job."""
    release, kept, there = tmp_path / "release", *cluster.config.nodes[:2]

    def work(path: Path) -> None:
        _note(path)
        if _notes(path)[-1]["node"] == there:
            _until(release.exists, 120)

    profiles = [
        _profile(cluster, exclude=cluster.config.nodes[2], sbatch={"nodelist": there}),
        _profile(cluster, sbatch={"nodelist": there}, requeue=False),
    ]
    again, not_again = (
        submit(profile, "worker", work, [(tmp_path / name,)], folder=tmp_path, name="t")[0]
        for profile, name in zip(profiles, ("again", "not_again"), strict=True)
    )
    _until(lambda: bool(_notes(tmp_path / "again") and _notes(tmp_path / "not_again")))
    call = ["scontrol", "update", f"JobId={again}", "ReqNodeList="]
    devcluster.stop_node(cluster.folder, there)
    try:
        cluster.wait([not_again], tmp_path)
        devcluster.call(cluster.folder, *call)  # what took it to this node
        states = cluster.wait([again, not_again], tmp_path)
        release.touch()
        first, second = _notes(tmp_path / "again")
        _until(lambda: not psutil.pid_exists(first["pid"]))
    finally:
        devcluster.start_node(cluster.folder, there)
    assert states == {again: "DONE", not_again: "NODE_FAIL"}
    assert ((first["node"], first["restarts"]), (second["node"], second["restarts"])) == (
        (there, 0),
        (kept, 1),
    )
    exit = read_exit(again, tmp_path)
    assert exit is not None
    assert exit.restarts == 1


def test_jobs_submitted_from_inside_a_job(cluster: Cluster, tmp_path: Path) -> None:
    """The inner job asks for less than the outer one, whose SLURM_* would say otherwise."""
    inner = _profile(cluster, mem_gb=0.25)

    def outer() -> None:
        ids = submit(inner, "worker", _note, [(tmp_path / "i",)] * 2, folder=tmp_path, name="i")
        (tmp_path / "ids").write_text(" ".join(ids))

    job_ids = submit(_profile(cluster, cpus=2), "finalize", outer, [()], folder=tmp_path, name="o")
    assert cluster.wait(job_ids, tmp_path) == {job_ids[0]: "DONE"}
    ids = (tmp_path / "ids").read_text().split()
    assert set(cluster.wait(ids, tmp_path).values()) == {"DONE"}
    assert [note["cpus"] for note in _notes(tmp_path / "i")] == [1, 1]


def test_a_refused_submission_leaves_no_orphans(cluster: Cluster, tmp_path: Path) -> None:
    """MaxSubmitJobs lets the first array through and not the second."""
    array_size = cluster.config.max_array_size
    limit_jobs(cluster, array_size + 2)
    try:
        _until(lambda: submission_room() is not None)
        calls = [(tmp_path / str(index),) for index in range(2 * array_size)]
        with pytest.raises(SubmissionError, match=r"Slurm refused the worker jobs of t: .*Limit"):
            submit(_profile(cluster), "worker", _note, calls, folder=tmp_path, name="t")
    finally:
        limit_jobs(cluster, -1)
    assert not list(tmp_path.glob("*.pkl"))
    _until(lambda: not devcluster.call(cluster.folder, "squeue", "-h", "-n", "t-worker").stdout)
    with pytest.raises(SubmissionError, match=r"[Ii]nvalid partition"):
        submit(_profile(cluster, partition="no"), "worker", _note, calls, folder=tmp_path, name="t")


def test_without_accounting_and_up_after_a_crash(bare_cluster: Cluster, tmp_path: Path) -> None:
    profile = _profile(bare_cluster)
    calls = [(tmp_path / "0",), (tmp_path / "1", 0)]
    killed, ended = submit(profile, "worker", _note_and_sleep, calls, folder=tmp_path, name="t")
    _until((tmp_path / "0").exists)
    os.kill(_notes(tmp_path / "0")[0]["pid"], signal.SIGKILL)
    assert bare_cluster.wait([killed, ended], tmp_path) == {killed: "LOST", ended: "DONE"}
    assert sacct_core_hours([killed, ended]) is None
    assert not cluster_facts().accounting
    servers = json.loads((bare_cluster.folder / "servers.json").read_text())
    for pid, _ in servers.values():
        os.kill(pid, signal.SIGKILL)
    for _ in range(2):  # the second time there is nothing to do
        config = devcluster.up(bare_cluster.folder, devcluster.new_config(nodes=7))
        assert config == bare_cluster.config
    (job_id,) = submit(profile, "worker", _note, [(tmp_path / "2",)], folder=tmp_path, name="t")
    assert bare_cluster.wait([job_id], tmp_path) == {job_id: "DONE"}


def test_a_warned_job_requeues_itself(cluster: Cluster, slow: Slow) -> None:
    assert cluster.wait([slow.warned], slow.folder) == {slow.warned: "DONE"}
    assert [note["restarts"] for note in _notes(slow.folder / "warned")] == [0, 1]


def test_a_job_past_its_time_limit(cluster: Cluster, slow: Slow) -> None:
    assert cluster.wait([slow.overdue], slow.folder) == {slow.overdue: "TIMEOUT"}
    job, exit = read_start(slow.overdue, slow.folder), read_exit(slow.overdue, slow.folder)
    assert job is not None
    assert exit is not None
    assert job.end_time == pytest.approx(job.pid_started + 60, abs=5)
    assert (exit.state, exit.error) == ("TIMEOUT", "ended by Slurm at its time limit")
