"""Whole small sweeps on a real Slurm, submitted by the command that a user has."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from analysis.rows.table import read_rows
from analysis.selection.fronts import front_rows
from analysis.selection.objectives import candidates
from slurm.accounting import job_accounting, sacct_core_hours
from slurm.commands import submission_room
from sweeps.run.directory import open_run
from sweeps.run.rounds import rounds
from tests.cluster import faults
from tests.cluster.small_sweep import (
    PATIENCE,
    TRIALS,
    Workspace,
    check_whole,
    jobs_left,
    limit_jobs,
    start_record,
    training,
    wait_for,
)

if TYPE_CHECKING:
    from tests.cluster.conftest import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500 * PATIENCE)]


def causes(rows: pd.DataFrame) -> list[str]:
    """Return what the lost attempts were lost by."""
    lost = rows.loc[rows["state"].eq("LOST"), "error"]
    return sorted(lost.str.split(":").str[0])


def test_a_whole_sweep_submitted_twice_at_once(cluster: Cluster, workspace: Workspace) -> None:
    """The profile wants the front timed on a node of its own."""
    fixed = cluster.config.nodes[2]
    profile = {"exclude": fixed, "measure": {"exclude": "", "sbatch": {"nodelist": fixed}}}
    arguments = workspace.write("whole", {}, profile)
    both = [workspace.start(f"submit {arguments}") for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE * 300) for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    assert any("runs/whole exists" in errors for _, errors in said), said
    run_dir = workspace.folder / "runs" / "whole"
    wait_for((run_dir / "finished.json").exists, about=run_dir)
    rows = check_whole(run_dir, cluster)
    assert len(rows) == TRIALS + 1
    status = json.loads(workspace.lmopt("status runs/whole --json"))
    assert status["finished"] and status["done"] == TRIALS and status["error"] is None
    assert set(status["jobs"]) == {"DONE"}
    (only,) = rounds(open_run(run_dir))
    check_core_hours(only.jobs, run_dir, status["core_hours_allocated"])
    workers = rows[rows["job_id"].isin(only.workers)]
    assert status["core_hours"] == pytest.approx(workers["core_seconds"].sum() / 3600)
    assert 0 < status["core_hours"] < status["core_hours_allocated"]
    assert 0 < status["busy_share"] < 1
    assert "trial 2 attempt 0: pruning" in workspace.lmopt("logs runs/whole 2")
    (measure,) = only.measure
    assert len(only.finalize) == 2  # one before the measure job, and one after it
    assert start_record(run_dir, measure)["node"] == fixed
    timed = {start_record(run_dir, job)["node"] for job in only.workers}
    assert fixed not in timed
    front = front_rows(rows, open_run(run_dir).sweep.objectives)
    assert front["timed_alone"].all() and len(front)


def check_core_hours(jobs: list[str], run_dir: Path, core_hours: float) -> None:
    """Compare what the jobs say of themselves with Slurm's own accounting."""
    run = open_run(run_dir)
    used = job_accounting(jobs, run.jobs)
    wait_for(lambda: sacct_core_hours(list(used)) is not None, about=run_dir)
    by_slurm = sacct_core_hours(list(used))
    assert by_slurm is not None
    # A job starts with Python for itself, with its shell for Slurm, and ends before Python does:
    # it never knows of more, and of less by seconds (on a starved machine by many).
    assert core_hours < by_slurm + len(used) / 3600
    assert core_hours > 0.75 * by_slurm - len(used) * 4 / 3600


def test_one_sweep_survives_what_a_cluster_does(cluster: Cluster, workspace: Workspace) -> None:
    """Each fault as it really happens, on a worker in the middle of training or the finalizer."""
    changes = {
        "recipe": {"epochs": 30, "seed": 1},
        "resources": {"workers": 3},
        # The finalizer times the front for so long that it can be met while it does.
        "runtime": {"rounds_b1": 300, "rounds_b32": 60},
    }
    run_dir = workspace.submit("faults", changes, held=True)
    target = faults.Target(cluster, workspace, run_dir, random.Random(0))
    for fault in (
        faults.run_out_of_time,
        faults.preempt,
        faults.kill_worker,
        faults.tear_journal,
        faults.cancel_task,
        faults.run_out_of_memory,
        faults.lose_node,  # its old process goes on for a while, and seems to be in training
        faults.restart_controller,
    ):
        wait_for(lambda: training(run_dir), about=run_dir)
        assert fault(target) or fault is faults.run_out_of_memory, fault
    workspace.release()
    run = open_run(run_dir)
    wait_for(lambda: len(candidates(read_rows(run_dir))) == TRIALS, 600, about=run_dir)
    for fault in (faults.kill_finalizer, faults.cancel_finalizer):  # as it times the front
        wait_for(lambda fault=fault: fault(target), 600, about=run_dir)
    wait_for((run_dir / "finished.json").exists, 600, about=run_dir)
    rows = check_whole(run_dir, cluster)
    lost = {"timeout", "preempted", "lost", "cancelled", "node fail"}
    lost |= {"out of memory"} if cluster.config.cgroups else set()
    assert lost <= set(causes(rows))
    submitted = rounds(run)
    assert any(part.grown["time_min"] == 20 for part in submitted[1:])
    if cluster.config.cgroups:
        assert any(part.grown["mem_gb"] == 3 for part in submitted[1:])
    assert [cause for part in submitted for cause in part.finalize_lost] == ["lost", "lost"]
    logs = "".join(path.read_text() for path in (run_dir / "jobs").glob("*_log.err"))
    assert "goes on from checkpoint-" in logs


def test_a_refused_submission_leaves_nothing(cluster: Cluster, workspace: Workspace) -> None:
    """MaxSubmitJobs lets prepare and one worker through, and not the finalizer."""
    arguments = workspace.write("refused", {}, {})
    limit_jobs(cluster, 2)
    try:
        wait_for(lambda: submission_room() is not None, about=workspace.folder)
        said = workspace.lmopt(f"submit {arguments}", code=2)
    finally:
        limit_jobs(cluster, -1)
    assert said.startswith("error: Slurm refused the finalize jobs of lmopt-refused: ")
    assert "limit" in said and len(said.splitlines()) == 1
    run_dir = workspace.folder / "runs" / "refused"
    assert not run_dir.exists()
    wait_for(lambda: not jobs_left(cluster, run_dir), about=workspace.folder)


def test_doctor_tells_what_slurm_says(cluster: Cluster, workspace: Workspace) -> None:
    workspace.write("doctor", {}, {})
    said = workspace.lmopt("doctor --on doctor_profile.yaml", code=None)
    assert "ok   slurm: answers; with accounting; arrays up to 6 tasks" in said
    assert "ok   worker job: Slurm would take it" in said
    assert re.search(r"ok   worker node: n\d+: \d+ cores of ", said), said
    assert "ok   worker node, locks: reach across nodes" in said
    workspace.write("doctor", {}, {"partition": "nowhere"})
    said = workspace.lmopt("doctor --on doctor_profile.yaml", code=1)
    assert "FAIL worker job: " in said and "invalid partition" in said.lower(), said
    assert "-> correct what it names for worker in profile doctor_profile" in said


def test_arrays_cancel_two_resumes_and_kill_9_without_accounting(
    bare_cluster: Cluster, workspace: Workspace
) -> None:
    """A job a trial: 4 tasks are more than an array may have."""
    changes = {"recipe": {"epochs": 30, "seed": 2}, "study": {"trials": 4}}
    run_dir = workspace.submit("cancelled", changes, {"trials_per_job": 1}, held=True)
    first = rounds(open_run(run_dir))[0]
    assert len(first.workers) == 4
    assert len({job.split("_")[0] for job in first.workers}) == 2
    wait_for(lambda: training(run_dir), about=run_dir)
    assert "cancelled" in workspace.lmopt("cancel runs/cancelled")
    states = wait_for(lambda: _dead(workspace), about=run_dir)
    assert not states["finished"]
    assert "go on with 'lmopt resume" in str(states["error"])
    both = [workspace.start("resume runs/cancelled") for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE * 300) for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    assert "Traceback" not in str(said)
    target = faults.Target(bare_cluster, workspace, run_dir, random.Random(0))
    wait_for(lambda: training(run_dir), about=run_dir)
    assert faults.kill_worker(target)
    workspace.release()
    wait_for((run_dir / "finished.json").exists, timeout_s=600, about=run_dir)
    rows = check_whole(run_dir, bare_cluster, 4)
    assert set(causes(rows)) == {"cancelled", "lost"}
    assert len(rounds(open_run(run_dir))) > 2  # the killed job's trial needs a job of its own


def _dead(workspace: Workspace) -> dict[str, object] | None:
    status: dict[str, object] = json.loads(workspace.lmopt("status runs/cancelled --json"))
    jobs = status["jobs"]
    assert isinstance(jobs, dict)
    return status if not jobs.keys() & {"PENDING", "RUNNING"} else None
