"""What clusters do to jobs, done on purpose; a fault returns False if it found nothing to hit."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slurm.devcluster import cluster as devcluster
from slurm.profile import Profile
from slurm.submit import submit
from sweeps.run.directory import open_run
from sweeps.run.rounds import live_jobs, rounds
from tests.cluster.small_sweep import PATIENCE, Workspace, start_record, training, wait_for, working

if TYPE_CHECKING:
    from tests.cluster.conftest import Cluster


@dataclass(frozen=True)
class Target:
    """A sweep under way, and where it runs."""

    cluster: Cluster
    workspace: Workspace
    run_dir: Path
    rng: random.Random

    def worker(self) -> dict[str, Any] | None:
        """Return what one of the workers in the middle of a trial says of itself."""
        found = training(self.run_dir) or working(self.run_dir)
        return self.rng.choice(found) if found else None


def kill_worker(target: Target) -> bool:
    """Kill -9 a worker in the middle of a trial."""
    said = target.worker()
    return said is not None and _kill(target.run_dir, said["job_id"]) and _ended(target, said)


def kill_finalizer(target: Target) -> bool:
    """Kill -9 the finalizer, if it runs."""
    job = finalizer(target.run_dir)
    return job is not None and _kill(target.run_dir, job) and _ended(target, {"job_id": job})


def cancel_finalizer(target: Target) -> bool:
    """Scancel the finalizer, if it runs."""
    job = finalizer(target.run_dir)
    if job is not None:
        devcluster.call(target.cluster.folder, "scancel", job, check=False)
        _ended(target, {"job_id": job})
    return job is not None


def finalizer(run_dir: Path) -> str | None:
    """Return the finalizer's job if it runs and has come to its work."""
    run = open_run(run_dir)
    states = live_jobs(run)
    jobs = [job for part in rounds(run) for job in part.finalize]
    begun = [job for job in jobs if (run.jobs / f"{job}.start.json").exists()]
    return next((job for job in begun if states.get(job) == "RUNNING"), None)


def cancel_task(target: Target) -> bool:
    """Scancel one task of the workers' array."""
    said = target.worker()
    if said is None:
        return False
    devcluster.call(target.cluster.folder, "scancel", said["job_id"], check=False)
    return _ended(target, said)


def run_out_of_memory(target: Target) -> bool:
    """Leave a worker in the middle of training no more memory than it has, by its own cgroup."""
    said = target.worker()
    if said is None or not target.cluster.config.cgroups:
        return False
    raw = devcluster.call(
        target.cluster.folder, "squeue", "--noheader", "--format=%A", f"--jobs={said['job_id']}",
        check=False,
    ).stdout.strip()  # fmt: skip
    found = list(Path("/sys/fs/cgroup/memory").glob(f"slurm_*/uid_*/job_{raw or '-'}"))
    with contextlib.suppress(OSError):  # it ended meanwhile
        for cgroup in found:
            usage = (cgroup / "memory.usage_in_bytes").read_text()
            (cgroup / "memory.limit_in_bytes").write_text(usage)
            return _ended(target, said)
    return False


def run_out_of_time(target: Target) -> bool:
    """Bring the time limit of a worker in the middle of a trial down to now."""
    said = target.worker()
    if said is None:
        return False
    end = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 1))
    command = ["scontrol", "update", f"JobId={said['job_id']}", f"EndTime={end}"]
    done = devcluster.call(target.cluster.folder, *command, check=False)
    return done.returncode == 0 and _ended(target, said)


def lose_node(target: Target) -> bool:
    """Take down the node of a worker in the middle of a trial; it comes back a little later."""
    said = target.worker()
    if said is None:
        return False
    node = start_record(target.run_dir, said["job_id"])["node"]
    devcluster.stop_node(target.cluster.folder, node)
    time.sleep(2)
    devcluster.start_node(target.cluster.folder, node)
    return True


def preempt(target: Target) -> bool:
    """Give the node of a worker in the middle of a trial to a more urgent job, for a second."""
    said = target.worker()
    if said is None:
        return False
    config = target.cluster.config
    node = start_record(target.run_dir, said["job_id"])["node"]
    urgent = Profile.model_validate(
        {
            "scheduler": "slurm", "partition": "urgent", "time_min": 1, "mem_gb": 0.2,
            "cpus": config.node_cpus, "sbatch": {"nodelist": node},
        }
    )  # fmt: skip
    folder = target.workspace.folder / "urgent"
    jobs = submit(urgent, "worker", time.sleep, [(1,)], folder=folder, name="urgent")
    target.cluster.wait(jobs, folder)  # so that the next fault does not hit the same attempt
    return True


def restart_controller(target: Target) -> bool:
    """Stop slurmctld and start it again."""
    devcluster.stop_controller(target.cluster.folder)
    time.sleep(target.rng.uniform(0, 3))
    devcluster.start_controller(target.cluster.folder)
    return True


def tear_journal(target: Target) -> bool:
    """Leave half a line at the end of the study's journal, as a killed writer does."""
    run = open_run(target.run_dir)
    with run.lock():
        if not run.journal.exists():
            return False
        with run.journal.open("a") as file:
            file.write('{"op_code": 4, "worker_')
    return True


def remove_journal(target: Target) -> bool:
    """Remove the study's journal."""
    run = open_run(target.run_dir)
    with run.lock(), contextlib.suppress(FileNotFoundError):
        run.journal.unlink()
        return True
    return False


def resume_twice(target: Target) -> bool:
    """Resume twice at once; while jobs of the run live, both are refused."""
    both = [target.workspace.start(f"resume runs/{target.run_dir.name}") for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE * 300) for process in both]
    assert all("Traceback" not in errors for _, errors in said), said
    assert sum(process.returncode == 0 for process in both) <= 1, said
    return True


FAULTS: dict[str, Callable[[Target], bool]] = {
    "kill -9 of a worker": kill_worker,
    "kill -9 of the finalizer": kill_finalizer,
    "scancel of the finalizer": cancel_finalizer,
    "scancel of a task": cancel_task,
    "out of memory": run_out_of_memory,
    "time limit": run_out_of_time,
    "node down and up": lose_node,
    "preemption": preempt,
    "slurmctld restarted": restart_controller,
    "journal torn": tear_journal,
    "journal removed": remove_journal,
    "two resumes at once": resume_twice,
}


def _ended(target: Target, said: dict[str, Any]) -> bool:
    """Wait for the end of a job, so that the next fault does not hit the same attempt."""
    run = open_run(target.run_dir)
    wait_for(lambda: live_jobs(run).get(said["job_id"]) != "RUNNING", about=run.path)
    return True


def _kill(run_dir: Path, job_id: str) -> bool:
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        os.kill(start_record(run_dir, job_id)["pid"], signal.SIGKILL)
        return True
    return False
