"""Locks between processes, and file systems that have none."""

import errno
import fcntl
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from slurm.profile import load_profile
from sweeps.definition.sweep import parse_sweep
from sweeps.jobs import launch
from sweeps.preflight import doctor
from sweeps.preflight.lock_check import FREE, why_no_locks
from sweeps.run.directory import Run, create_run
from sweeps.run.locks import LockedError, LockError, locked
from tests.sweeps.workers import FORK


def _hold(path: Path, taken: Any) -> None:
    with locked(path, 5):
        taken.set()
        signal.pause()


def test_a_lock_keeps_another_process_out_until_its_holder_dies(tmp_path: Path) -> None:
    path, taken = tmp_path / "lock", FORK.Event()
    holder = FORK.Process(target=_hold, args=(path, taken))
    holder.start()
    assert taken.wait(30)
    with pytest.raises(LockedError, match="is locked by another process"), locked(path, 0.2):
        pass
    holder.kill()
    holder.join()
    with locked(path, 5), pytest.raises(LockedError), locked(path, 0):
        pass
    with locked(path, 0):
        pass


@pytest.fixture(params=[errno.ENOSYS, errno.ENOTSUP], ids=["ENOSYS", "ENOTSUP"])
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lustre that was mounted without -o flock, and others."""

    def refuse(*_: Any) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_file_system_without_locks_is_one_line_with_the_remedy(
    tmp_path: Path, without_locks: None
) -> None:
    with pytest.raises(LockError) as refused, locked(tmp_path / "study.lock", 5):
        pass
    said = str(refused.value)
    assert said.startswith(f"{tmp_path / 'study.lock'}: the file system gives no locks")
    assert "-o flock" in said and "lmopt doctor" in said and "\n" not in said


def test_no_run_is_left_where_none_can_work(
    tmp_path: Path, definition: dict[str, Any], without_locks: None
) -> None:
    sweep = parse_sweep(definition, source="test")
    run = create_run(tmp_path / "run", sweep, load_profile("local"), tmp_path / "cache", {})
    with pytest.raises(LockError):
        launch.launch_new(run)
    assert not run.path.exists()


def test_the_doctor_finds_a_file_system_without_locks(tmp_path: Path, without_locks: None) -> None:
    """It said that they work: filelock had made do with a file that no kernel frees."""
    (found,) = doctor._locks("locks of runs", tmp_path)
    assert "the file system gives no locks" in found.said and "-o flock" in found.remedy


def test_the_doctor_locks_from_two_processes(tmp_path: Path) -> None:
    (found,) = doctor._locks("locks of runs", tmp_path)
    assert not found.remedy and f"keep a second process out in {tmp_path}" in found.said
    assert not list(tmp_path.iterdir())


def test_locks_that_keep_nobody_out_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount whose locks stay on their node: the other process is given what this one holds."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert why_no_locks(tmp_path) == "a lock that one process held was given to another"


def test_locks_that_only_another_process_has_not_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import fcntl, errno\n"
        "def refuse(*_):\n    raise OSError(errno.ENOSYS, 'Function not implemented')\n"
        "fcntl.flock = refuse\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "runs").mkdir()
    said = why_no_locks(tmp_path / "runs")
    assert said is not None and "the file system gives no locks" in said


def test_what_the_node_says_of_each_folder_is_judged(run: Run) -> None:
    found = {
        "cores": 1, "node": "n1", "processor": "x", "python": "3", "gpu": None,
        "versions": {}, "locks": {"/runs/lock": FREE, "/cache/lock": "no locks", "/other": "held"},
    }  # fmt: skip
    lines = [line for line in doctor._compare("worker node", found, run.profile.job("worker"))
             if line.what == "worker node, locks"]  # fmt: skip
    assert [line.said for line in lines] == [
        "/runs/lock: a lock held here was given there as well",
        "/cache/lock: no locks",
    ]
    assert all("-o flock" in line.remedy for line in lines)
