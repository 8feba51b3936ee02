"""The local backend, with real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cloudpickle
import psutil
import pytest

from slurm.accounting import job_accounting
from slurm.profile import Profile
from slurm.records import current_job, read_exit, read_start, write_record
from slurm.states import JobState, cancel, job_states, log_paths
from slurm.submit import SubmissionError, submit

Wait = Callable[[Sequence[str], Path], dict[str, JobState]]

# The functions below are no module that a job could import.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(autouse=True)
def _own_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores are shared out below TMPDIR: a sweep that runs on this machine holds none of these."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def _profile(**values: object) -> Profile:
    return Profile.model_validate({"scheduler": "local", **values})


def _note(path: Path, seconds: float = 0.0, release: Path | None = None) -> None:
    began, job = time.time(), current_job()
    assert job is not None
    if release is not None:
        _until(release.exists)
    time.sleep(seconds)
    known = {"job_id": job.job_id, "began": began, "ended": time.time(), "left": job.seconds_left()}
    known["cores"] = sorted(os.sched_getaffinity(0))
    path.write_text(json.dumps(known))


def _fail(message: str) -> None:
    raise KeyError(message)


def _hang(pid_file: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pid_file.write_text(str(child.pid))
    child.wait()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_jobs_run_after_their_dependencies_on_cores_of_their_own(folder: Path, wait: Wait) -> None:
    out = folder.parent
    profile, jobs = _profile(), {}
    release = out / "release"
    held = (out / "p", 1.0, release)
    jobs["prepare"] = submit(profile, "prepare", _note, [held], folder=folder, name="t")
    calls = [(out / str(index), 0.5) for index in range(3)]
    jobs["worker"] = submit(
        profile, "worker", _note, calls, folder=folder, name="t", after=jobs["prepare"]
    )
    release.touch()  # so submission has returned before any job was over
    states = wait([*jobs["prepare"], *jobs["worker"]], folder)
    seen_over = time.time()
    assert set(states.values()) == {"DONE"}
    prepare, *workers = [json.loads((out / name).read_text()) for name in ("p", "0", "1", "2")]
    assert [worker["job_id"] for worker in workers] == jobs["worker"]
    assert prepare["left"] is None
    for worker in workers:
        assert worker["began"] >= prepare["ended"]
        assert len(worker["cores"]) == 1
        for other in workers:
            apart = worker["ended"] <= other["began"] or other["ended"] <= worker["began"]
            assert worker is other or apart or worker["cores"] != other["cores"]
    usage = job_accounting(jobs["worker"], folder)[jobs["worker"][0]]
    first = workers[0]
    assert first["ended"] - first["began"] <= usage.elapsed_seconds
    # Not the time that it waited, a second at least, for the job before it.
    assert usage.elapsed_seconds < seen_over - prepare["ended"]


def test_an_error_is_recorded_and_what_needs_the_job_is_cancelled(
    tmp_path: Path, wait: Wait
) -> None:
    failing = submit(_profile(), "prepare", _fail, [("a\nb",)], folder=tmp_path, name="t")
    strict = submit(
        _profile(), "worker", _note, [(tmp_path / "s",)], folder=tmp_path, name="t", after=failing
    )
    lenient = submit(
        _profile(),
        "finalize",
        _note,
        [(tmp_path / "l",)],
        folder=tmp_path,
        name="t",
        after=failing + strict,
        dependency="afterany",
    )
    guards = [
        submit(
            _profile(), "finalize", _note, [(tmp_path / name,)], folder=tmp_path, name="t",
            after=guarded, dependency="afternotok",
        )[0]
        for name, guarded in (("g", failing), ("h", lenient))
    ]  # fmt: skip
    states = wait([*failing, *strict, *lenient, *guards], tmp_path)
    assert list(states.values()) == ["FAILED", "CANCELLED", "DONE", "DONE", "CANCELLED"]
    assert not log_paths(guards[1], tmp_path)[1].read_text()
    exit = read_exit(failing[0], tmp_path)
    assert exit is not None
    assert exit.error == r"KeyError: 'a\nb'"
    dependent = read_exit(strict[0], tmp_path)
    assert dependent is not None
    assert dependent.error == f"dependency failed: {failing[0]} ended as FAILED"
    assert not (tmp_path / "s").exists()
    assert "KeyError" in log_paths(failing[0], tmp_path)[1].read_text()


def test_jobs_outlive_the_session_that_submitted_them(tmp_path: Path, wait: Wait) -> None:
    script = (
        "import sys, time, pathlib\n"
        "from slurm.profile import load_profile\n"
        "from slurm.submit import submit\n"
        "out = pathlib.Path(sys.argv[1])\n"
        "def work(): time.sleep(1.5); (out / 'done').write_text('')\n"
        "print(*submit(load_profile('local'), 'worker', work, [()], folder=out, name='t'))\n"
        "sys.stdout.flush(); time.sleep(60)\n"
    )
    submitter = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert submitter.stdout is not None
    job_ids = submitter.stdout.readline().split()
    for how in (signal.SIGHUP, signal.SIGKILL):
        os.killpg(submitter.pid, how)
    submitter.communicate()
    assert wait(job_ids, tmp_path) == {job_ids[0]: "DONE"}
    assert (tmp_path / "done").exists()


def test_kill_9_is_lost_and_cancel_leaves_no_process(folder: Path, wait: Wait) -> None:
    pids = [folder.parent / "killed", folder.parent / "cancelled"]
    calls = [(path,) for path in pids]
    killed, cancelled = submit(_profile(), "worker", _hang, calls, folder=folder, name="t")
    waiting = submit(
        _profile(), "finalize", _note, [(folder / "x",)], folder=folder, name="t", after=[cancelled]
    )
    _until(lambda: all(path.exists() and path.read_text() != "" for path in pids))
    assert job_states([killed, cancelled, *waiting], folder) == {
        killed: "RUNNING",
        cancelled: "RUNNING",
        waiting[0]: "PENDING",
    }
    job = read_start(killed, folder)
    assert job is not None
    os.kill(job.pid, signal.SIGKILL)
    _until(lambda: job_states([killed], folder) == {killed: "LOST"})
    cancel([killed, cancelled, *waiting], folder)
    states = job_states([cancelled, *waiting], folder)
    assert states == {cancelled: "CANCELLED", waiting[0]: "CANCELLED"}
    # The child of the killed job too, which nobody had ended.
    _until(lambda: not any(psutil.pid_exists(int(path.read_text())) for path in pids))
    assert read_exit(cancelled, folder) is not None


def test_a_process_id_that_is_used_again_is_not_the_job(tmp_path: Path, wait: Wait) -> None:
    (job_id,) = submit(_profile(), "worker", _fail, [("x",)], folder=tmp_path, name="t")
    wait([job_id], tmp_path)
    (tmp_path / f"{job_id}.exit.json").unlink()
    (tmp_path / f"{job_id}_0_result.pkl").unlink()
    job = read_start(job_id, tmp_path)
    assert job is not None
    values = {**vars(job), "pid": os.getpid()}
    write_record(type(job)(**values), tmp_path)
    assert job_states([job_id], tmp_path) == {job_id: "LOST"}
    write_record(type(job)(**values | {"host": "elsewhere"}), tmp_path)
    assert job_states([job_id], tmp_path) == {job_id: "RUNNING"}  # cannot be judged from here


def test_stray_modules_setup_and_environment(
    tmp_path: Path, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("slurm", "submitit", "json", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stray module')")
    monkeypatch.chdir(tmp_path)
    profile = _profile(
        setup=["export FROM_SETUP='a b'"],
        teardown=["echo torn down > teardown.txt"],
        environment={"FROM_PROFILE": "it's"},
    )

    def work() -> None:
        Path("environment.txt").write_text(os.environ["FROM_SETUP"] + os.environ["FROM_PROFILE"])
        raise ValueError("to see the teardown")

    job_ids = submit(profile, "worker", work, [()], folder=tmp_path / "jobs", name="t")
    assert wait(job_ids, tmp_path / "jobs") == {job_ids[0]: "FAILED"}
    assert (tmp_path / "environment.txt").read_text() == "a bit's"
    _until((tmp_path / "teardown.txt").exists)


def test_a_function_that_cannot_be_loaded_is_a_failure(tmp_path: Path, wait: Wait) -> None:
    class Unloadable:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return _fail, ("while unpickling",)

        def __call__(self) -> None: ...

    job_ids = submit(_profile(), "worker", Unloadable(), [()], folder=tmp_path, name="t")
    assert wait(job_ids, tmp_path) == {job_ids[0]: "FAILED"}


def test_more_cores_than_the_machine_has_are_refused(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    with pytest.raises(SubmissionError, match=f"at most {cores} on this machine, got {cores + 1}"):
        submit(_profile(cpus=cores + 1), "worker", _note, [(tmp_path,)], folder=tmp_path, name="t")
    assert not list(tmp_path.glob("*.pkl"))
