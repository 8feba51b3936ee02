"""A small real sweep on a real Slurm: its definition, its command line, and what must hold of it.

Models and texts are those of tests/conftest.py; everything else is what a user gets.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import psutil
import yaml

from analysis.rows.table import final_attempts, read_rows
from slurm.devcluster import cluster as devcluster
from slurm.records import JOB_VARIABLE
from sweeps.run.directory import open_run
from sweeps.run.progress import read_progress
from sweeps.run.rounds import live_jobs
from sweeps.study.study import open_study

if TYPE_CHECKING:
    from tests.cluster.conftest import Cluster

TRIALS = 6
PATIENCE = float(os.environ.get("LMOPT_TEST_PATIENCE", "1"))  # of all waiting, on a busy machine
HELD = Path(__file__).with_name("held")
PROFILE = {
    "scheduler": "slurm",
    "partition": "batch",
    "time_min": 10,
    "mem_gb": 2,
    "signal_delay_s": 1,
}


def definition(csv_file: Path, teacher: Path, student: Path) -> dict[str, Any]:
    """Four reference points and two trials of the search; seconds each."""
    return {
        "name": "small",
        "task": {
            "dataset": str(csv_file), "text_column": "body", "label_column": "topic",
            "group_column": "document", "max_length": 32,
        },
        "teacher": {
            "model": str(teacher), "epochs": 10, "learning_rate": 2e-3, "batch_size": 16,
        },
        "student": {"model": str(student)},
        "recipe": {"epochs": 4, "recovery_epochs": 1, "learning_rate": 3e-3, "batch_size": 16},
        "search": {
            "layers": [1, 2],
            "temperature": {"type": "float", "low": 1.0, "high": 8.0, "log": True},
            "sparsity": {"type": "float", "low": 0.0, "high": 0.8, "step": 0.1},
            "bits": [32, 16, 8, 4],
        },
        "runtime": {"rounds_b1": 5, "rounds_b32": 3},
        "study": {"trials": TRIALS, "sampler": "tpe"},
        "resources": {"workers": 2},
        "report": "tables",
    }  # fmt: skip


@dataclass(frozen=True)
class Workspace:
    """A user's folder: sweeps there share one cache, so that only the first one prepares."""

    folder: Path
    definition: dict[str, Any]

    @property
    def hold(self) -> Path:
        """The file that slows training down while it lies there."""
        return self.folder / "hold"

    def release(self) -> None:
        """Let training go as fast as it can."""
        self.hold.unlink()

    def lmopt(self, line: str, *, code: int | None = 0) -> str:
        """Run an `lmopt` command to its end and return what it printed."""
        done = self.start(line)
        said, errors = done.communicate(timeout=PATIENCE * 300)
        assert code is None or done.returncode == code, said + errors
        assert "Traceback" not in errors, errors
        return said + errors

    def start(self, line: str) -> subprocess.Popen[str]:
        """Start an `lmopt` command."""
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "sweeps.cli", *shlex.split(line)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder,
            env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"},
        )  # fmt: skip

    def write(self, name: str, changes: dict[str, Any], profile: dict[str, Any]) -> str:
        """Write a sweep and a profile; return the arguments that submit them."""
        values = {**self.definition, "name": name}
        for key, value in changes.items():
            both = isinstance(value, dict) and key != "search"
            values[key] = {**values.get(key, {}), **value} if both else value
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        path = self.folder / f"{name}_profile.yaml"
        path.write_text(yaml.safe_dump({**PROFILE, **profile}), encoding="utf-8")
        return f"{name}.yaml --on {name}_profile.yaml"

    def submit(
        self,
        name: str,
        changes: dict[str, Any] | None = None,
        profile: dict[str, Any] | None = None,
        *,
        held: bool = False,
    ) -> Path:
        """Submit a sweep, lose the session that it was submitted from, return its run directory.

        Where it is `held`, its students' training goes slowly until `release`.
        """
        if held:
            self.hold.touch()
            environment = {
                "PYTHONPATH": str(HELD),
                "LMOPT_TEST_HOLD": str(self.hold),
                "LMOPT_CHECKPOINT_S": "0.5",
            }
            profile = {**(profile or {}), "environment": environment}
        lmopt = shlex.join([sys.executable, "-P", "-m", "sweeps.cli"])
        line = f"{lmopt} submit {self.write(name, changes or {}, profile or {})}"
        shell = subprocess.Popen(
            ["bash", "-c", f"{line}; echo ended $?; sleep 600"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.folder,
            env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}, start_new_session=True,
        )  # fmt: skip
        assert shell.stdout is not None
        said: list[str] = []
        for text in shell.stdout:
            said.append(text)
            if text.startswith("ended "):
                break
        for how in (signal.SIGHUP, signal.SIGKILL):
            os.killpg(shell.pid, how)
        shell.communicate()
        assert said[-1] == "ended 0\n", "".join(said)
        return self.folder / "runs" / name


def wait_for(condition: Callable[[], Any], timeout_s: float = 300, *, about: Path) -> Any:
    """Wait until a condition holds and return what it said; else say what the run's logs say."""
    deadline = time.monotonic() + PATIENCE * timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not come in {timeout_s} s: {describe(about)}")
        time.sleep(0.5)
    return found


def describe(run_dir: Path) -> str:
    """Return everything that explains a run's state: its files, its rows, the ends of its logs."""
    files = sorted(str(path.relative_to(run_dir)) for path in run_dir.rglob("*.json"))
    said = [f"{run_dir}: {' '.join(files)}"]
    said += [path.read_text() for path in (run_dir / "progress").glob("*.json")]
    rows = read_rows(run_dir)
    if len(rows):
        said.append(rows[["trial", "attempt", "state", "error", "job_id"]].to_string())
    for path in sorted((run_dir / "jobs").glob("*_log.err")):
        lines = path.read_text(errors="replace").splitlines()[-12:]
        said.append(f"==> {path.name}\n" + "\n".join(lines))
    queue = subprocess.run(["squeue", "--array"], capture_output=True, text=True, check=False)
    return "\n".join([*said, queue.stdout, queue.stderr])


def working(run_dir: Path) -> list[dict[str, Any]]:
    """Return what each worker in the middle of a trial says of itself."""
    run = open_run(run_dir)
    alive = live_jobs(run)
    said = [asdict(progress) for progress in read_progress(run)]
    return [p for p in said if p["trial"] is not None and alive.get(p["job_id"]) == "RUNNING"]


def training(run_dir: Path) -> list[dict[str, Any]]:
    """Return the workers that are at a stage which takes some seconds."""
    return [said for said in working(run_dir) if said["stage"] in ("distill", "prune")]


def start_record(run_dir: Path, job_id: str) -> dict[str, Any]:
    """Return what a job wrote when it started."""
    values: dict[str, Any] = json.loads((run_dir / "jobs" / f"{job_id}.start.json").read_text())
    return values


def check_whole(run_dir: Path, cluster: Cluster, trials: int = TRIALS) -> pd.DataFrame:
    """Check a finished run and return all its attempts.

    Every number is complete exactly once, after nothing but lost attempts; each claim has its row;
    Optuna says what the rows say; no job is left in the queue, and no process of any.
    """
    run, rows = open_run(run_dir), read_rows(run_dir)
    models = rows[rows["kind"].ne("linear")]
    final = final_attempts(models).sort_values("trial")
    assert list(final["trial"]) == list(range(trials)), describe(run_dir)
    assert final["state"].eq("COMPLETE").all(), describe(run_dir)
    assert final["recipe_key"].is_unique
    for _, attempts in models.groupby("trial"):
        assert list(attempts["attempt"]) == list(range(len(attempts))), describe(run_dir)
        assert attempts["state"].iloc[:-1].eq("LOST").all(), describe(run_dir)
    claimed = sorted(path.stem for path in run.claims.iterdir())
    written = sorted(path.stem for path in run.rows.glob("0*.parquet"))
    assert claimed == written, describe(run_dir)
    told = [(t.state.name, t.values) for t in open_study(run).trials]
    objectives = list(run.sweep.objectives)
    paths = [
        run.row_path(number, attempt) for number, attempt in final[["trial", "attempt"]].values
    ]
    as_told = pd.concat([pd.read_parquet(path) for path in paths])  # before the front's new timings
    said = [("COMPLETE", list(values)) for values in as_told[objectives].to_numpy(float)]
    assert told == said, describe(run_dir)
    assert (run_dir / "finished.json").exists() and (run_dir / "results.parquet").exists()
    assert (run_dir / "report" / "pareto_front.png").exists()
    wait_for(lambda: not jobs_left(cluster, run_dir), 30, about=run_dir)
    wait_for(lambda: not processes_left(run_dir), 30, about=run_dir)
    return rows


def jobs_left(cluster: Cluster, run_dir: Path) -> list[str]:
    """Return the run's jobs that are still in the queue."""
    said = devcluster.call(cluster.folder, "squeue", "--noheader", "--array", "--format=%i %j %T")
    return [line for line in said.stdout.splitlines() if f"lmopt-{run_dir.name}-" in line]


def limit_jobs(cluster: Cluster, jobs: int) -> None:
    """Let the user have so many jobs in the queue; -1: any number."""
    user = psutil.Process().username()
    command = ["sacctmgr", "--immediate", "modify", "user", "where", f"name={user}"]
    devcluster.call(cluster.folder, *command, "set", f"MaxSubmitJobs={jobs}")


def processes_left(run_dir: Path) -> list[psutil.Process]:
    """Return the processes that belong to jobs of the run, found by what they inherited."""
    mark = json.dumps(str(run_dir / "jobs"))
    found = []
    for process in psutil.process_iter():
        try:
            job = process.environ().get(JOB_VARIABLE, "")
        except (psutil.Error, OSError):
            continue
        if mark in job:
            found.append(process)
    return found
