"""Whole small sweeps on a real Slurm, submitted by the command that a user has."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from slurm.accounting import sacct_core_hours
from sweeps.launch import rounds
from sweeps.run import open_run
from tests.cluster import faults
from tests.cluster.small_sweep import TRIALS, Workspace, check_whole, training, wait_for

if TYPE_CHECKING:
    from tests.cluster.conftest import Cluster

pytestmark = pytest.mark.cluster


def causes(rows: pd.DataFrame) -> list[str]:
    """Return what the lost attempts were lost by."""
    lost = rows.loc[rows["state"].eq("LOST"), "error"]
    return sorted(lost.str.split(":").str[0])


def test_a_whole_sweep_submitted_twice_at_once(cluster: Cluster, workspace: Workspace) -> None:
    arguments = workspace.write("whole", {}, {})
    both = [workspace.start(f"submit {arguments}") for _ in range(2)]
    said = [process.communicate(timeout=60) for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    assert any("runs/whole exists" in errors for _, errors in said), said
    run_dir = workspace.folder / "runs" / "whole"
    wait_for((run_dir / "finished.json").exists, about=run_dir)
    rows = check_whole(run_dir, cluster)
    assert len(rows) == TRIALS + 1
    status = json.loads(workspace.lmopt("status runs/whole --json"))
    assert status["finished"] and status["done"] == TRIALS and status["error"] is None
    assert set(status["jobs"]) == {"DONE"}
    jobs = rounds(open_run(run_dir))[0].jobs
    wait_for(lambda: sacct_core_hours(jobs) is not None, about=run_dir)
    by_slurm = sacct_core_hours(jobs)
    assert status["core_hours_allocated"] == pytest.approx(by_slurm, abs=len(jobs) * 2 / 3600)
    assert 0 < status["core_hours"] < status["core_hours_allocated"]
    assert 0 < status["busy_share"] < 1
    assert "trial 2 attempt 0: pruning" in workspace.lmopt("logs runs/whole 2")


def test_one_sweep_survives_what_a_cluster_does(cluster: Cluster, workspace: Workspace) -> None:
    changes = {"recipe": {"epochs": 30, "seed": 1}, "resources": {"workers": 3}}
    run_dir = workspace.submit("faults", changes)
    target = faults.Target(cluster, workspace, run_dir, random.Random(0))
    for fault in (
        faults.preempt,
        faults.kill_worker,
        faults.tear_journal,
        faults.lose_node,
        faults.restart_controller,
    ):
        wait_for(lambda: training(run_dir), about=run_dir)
        assert fault(target), fault
    wait_for((run_dir / "finished.json").exists, 240, about=run_dir)
    rows = check_whole(run_dir, cluster)
    assert {"lost", "node fail", "preempted"} <= set(causes(rows))


@pytest.mark.chaos
def test_arrays_cancel_and_two_resumes_without_accounting(
    bare_cluster: Cluster, workspace: Workspace
) -> None:
    """A job a trial: 7 tasks are more than an array may have."""
    changes = {"recipe": {"epochs": 30, "seed": 2}, "study": {"trials": 7}}
    run_dir = workspace.submit("cancelled", changes, {"trials_per_job": 1})
    first = rounds(open_run(run_dir))[0]
    assert len(first.workers) == 7
    assert len({job.split("_")[0] for job in first.workers}) == 2
    wait_for(lambda: training(run_dir), about=run_dir)
    assert "cancelled" in workspace.lmopt("cancel runs/cancelled")
    states = wait_for(lambda: _dead(workspace), about=run_dir)
    assert not states["finished"]
    both = [workspace.start("resume runs/cancelled") for _ in range(2)]
    said = [process.communicate(timeout=60) for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    assert "Traceback" not in str(said)
    wait_for((run_dir / "finished.json").exists, timeout_s=240, about=run_dir)
    rows = check_whole(run_dir, bare_cluster, 7)
    assert set(causes(rows)) == {"cancelled"}
    assert len(rounds(open_run(run_dir))) == 2


def _dead(workspace: Workspace) -> dict[str, object] | None:
    status: dict[str, object] = json.loads(workspace.lmopt("status runs/cancelled --json"))
    jobs = status["jobs"]
    assert isinstance(jobs, dict)
    return status if not jobs.keys() & {"PENDING", "RUNNING"} else None
