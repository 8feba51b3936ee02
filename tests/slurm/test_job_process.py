"""The callable that a job runs, in the process of the test."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit

from slurm.job_process import RecordedCall


def test_the_other_tasks_of_a_job_of_several_nodes_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no record, so the function would find itself outside of any job."""
    monkeypatch.setattr(submitit, "JobEnvironment", lambda: SimpleNamespace(global_rank=1))
    called: list[str] = []
    RecordedCall(called.append, tmp_path, requeue=True, teardown=("exit 1",))("called")
    assert not called and not list(tmp_path.iterdir())


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
