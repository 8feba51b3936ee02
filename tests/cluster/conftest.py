"""A private Slurm for the tests that need a real one: slurm/devcluster.py, once for the session."""

import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from slurm.devcluster import cluster as devcluster
from slurm.devcluster.configuration import ClusterConfig
from slurm.devcluster.packages import MissingPackagesError, check_packages
from slurm.states import JobState, is_over, job_states
from tests.absent import absent
from tests.cluster.small_sweep import PATIENCE, Workspace, definition


@dataclass(frozen=True)
class Cluster:
    folder: Path
    config: ClusterConfig

    def wait(
        self,
        job_ids: Sequence[str],
        folder: Path,
        until: Callable[[dict[str, JobState]], bool] | None = None,
        *,
        timeout_seconds: float = 300,
    ) -> dict[str, JobState]:
        """States of the jobs once they are all over, or as `until` says."""
        reached = until or (lambda states: all(is_over(state) for state in states.values()))
        deadline = time.monotonic() + PATIENCE * timeout_seconds
        while not reached(states := job_states(job_ids, folder)):
            assert time.monotonic() < deadline, states
            time.sleep(0.2)
        return states


@contextmanager
def _running(*, accounting: bool, nodes: int, max_array_size: int) -> Iterator[Cluster]:
    try:
        check_packages(accounting=accounting)
    except MissingPackagesError as error:
        absent(f"NO SLURM HERE, NOTHING TESTED ON IT: {error}")
    # Not below tmp_path: the path of a Unix socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="dev-"))
    outer = os.environ.get("SLURM_CONF")
    try:
        config = devcluster.new_config(
            nodes=nodes, accounting=accounting, node_cpus=2, max_array_size=max_array_size
        )
        config = devcluster.up(folder, config)
        os.environ |= devcluster.variables(folder)
        if not config.cgroups:
            warnings.warn("NO CGROUP v1, OUT OF MEMORY NOT TESTED", stacklevel=1)
        yield Cluster(folder, config)
    finally:
        devcluster.down(folder)
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop("SLURM_CONF", None)
        if outer is not None:
            os.environ["SLURM_CONF"] = outer


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with _running(accounting=True, nodes=3, max_array_size=6) as running:
        yield running


@pytest.fixture
def bare_cluster() -> Iterator[Cluster]:
    """Without accounting, as many real clusters are; SLURM_CONF is its own while a test has it."""
    with _running(accounting=False, nodes=1, max_array_size=3) as running:
        yield running


@pytest.fixture(scope="session")
def workspace(
    tmp_path_factory: pytest.TempPathFactory,
    csv_file: Path,
    teacher_folder: Path,
    student_folder: Path,
) -> Workspace:
    """The folder of a user who sweeps over the research's two kinds of model, in miniature."""
    folder = tmp_path_factory.mktemp("user folder's")  # a space and a quote, as users have
    return Workspace(folder, definition(csv_file, teacher_folder, student_folder))
