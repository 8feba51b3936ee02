"""Shared by the tests of submission."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from slurm.states import JobState, is_over, job_states


@pytest.fixture(params=["plain", 'it\'s a "folder"; $HOME & more'], ids=["plain", "hostile"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param / "jobs"


@pytest.fixture
def wait() -> Callable[[Sequence[str], Path], dict[str, JobState]]:
    def states(job_ids: Sequence[str], folder: Path) -> dict[str, JobState]:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            found = job_states(job_ids, folder)
            if all(is_over(state) for state in found.values()):
                return found
            time.sleep(0.1)
        raise AssertionError(f"still not over: {found}")

    return states
