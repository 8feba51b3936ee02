"""The callable that a job runs, in the process of the test."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit

from slurm.job_process import RecordedCall, resolve
from slurm.records import read_exit
from slurm.states import is_over, job_states


def test_the_other_tasks_of_a_job_of_several_nodes_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no record, so the function would find itself outside of any job."""
    monkeypatch.setattr(submitit, "JobEnvironment", lambda: SimpleNamespace(global_rank=1))
    called: list[str] = []
    RecordedCall(called.append, tmp_path, requeue=True, teardown=("exit 1",))("called")
    assert not called and not list(tmp_path.iterdir())


def test_a_function_may_be_given_by_its_name(tmp_path: Path) -> None:
    """The submitter imports nothing of it; the job finds it, or says what is missing."""
    assert resolve("json:dumps") is json.dumps
    assert resolve(len) is len
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        resolve("nowhere.at_all:function")
    code = """
import sys
from pathlib import Path
from slurm.profile import Profile
from slurm.submit import submit
jobs = submit(
    Profile(scheduler="local"), "worker", "colorsys:nothing", [()], folder=Path("jobs"), name="t"
)
assert "colorsys" not in sys.modules
print(*jobs)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (job_id,) = done.stdout.split()
    deadline = time.monotonic() + 60
    while not is_over(job_states([job_id], tmp_path / "jobs")[job_id]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ended = read_exit(job_id, tmp_path / "jobs")
    assert ended is not None
    assert ended.error == "AttributeError: module 'colorsys' has no attribute 'nothing'"


JOB = """
import signal, sys, threading, time
from slurm.job_process import _wake_main_thread

def other_thread():
    time.sleep(0.5)  # the main thread sleeps
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(7))
_wake_main_thread()
threading.Thread(target=other_thread, daemon=True).start()
time.sleep(600)
"""


def test_a_signal_that_another_thread_took_wakes_the_main_thread() -> None:
    done = subprocess.run([sys.executable, "-c", JOB], timeout=300, check=False)
    assert done.returncode == 7
