"""The callable that a job runs, in the process of the test."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit

from slurm.run import RecordedCall


def test_the_other_tasks_of_a_job_of_several_nodes_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no record, so the function would find itself outside of any job."""
    monkeypatch.setattr(submitit, "JobEnvironment", lambda: SimpleNamespace(global_rank=1))
    called: list[str] = []
    RecordedCall(called.append, tmp_path, requeue=True, teardown=("exit 1",))("called")
    assert not called and not list(tmp_path.iterdir())
