"""The whole way on real parts: the README's commands on a real (tiny) teacher and student.

The models are BERTs of the research's two kinds, built here, with Russian text; the runtime, the
jobs, the training and the measuring are what a user gets.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import psutil
import pytest
import yaml
from nbclient import NotebookClient

import sweeps.configs
from analysis.rows.table import final_attempts, load_results, read_rows
from lmopt.runtimes.manifest import hash_files, read_manifest
from sweeps.run.directory import open_run
from sweeps.run.rounds import JOB_KINDS
from sweeps.study.study import open_study

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ENVIRONMENT = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "LMOPT_DEBUG": ""}

pytestmark = pytest.mark.slow


def command_line(line: str) -> list[str]:
    """Return a README command as it runs here: this Python, no shell."""
    name, *arguments = shlex.split(line, comments=True)
    assert name == "lmopt"
    return [sys.executable, "-P", "-m", "sweeps.cli", *arguments]


def lmopt(line: str, cwd: Path, *, code: int = 0) -> str:
    """Run a command to its end and return what it printed."""
    done = subprocess.run(
        command_line(f"lmopt {line}"),
        capture_output=True, text=True, timeout=500, env=ENVIRONMENT, cwd=cwd,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def readme_commands() -> list[str]:
    """Return every `lmopt` line of the README's shell blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("lmopt ")]


@pytest.fixture(scope="module")
def workspace(
    tmp_path_factory: pytest.TempPathFactory,
    csv_file: Path,
    teacher_folder: Path,
    student_folder: Path,
) -> Path:
    """A user's folder: the research's sweep on models of the same two kinds, as my_sweep.yaml."""
    folder: Path = tmp_path_factory.mktemp("user folder's")  # a space and a quote, as users have
    shipped = Path(sweeps.configs.__file__).parent / "rubert_tiny2.yaml"
    definition: dict[str, Any] = yaml.safe_load(shipped.read_text())
    definition["name"] = "my_sweep"
    definition["task"] |= {
        "dataset": str(csv_file), "text_column": "body", "label_column": "topic",
        "group_column": "document", "max_length": 32,
    }  # fmt: skip
    definition["teacher"] = {
        "model": str(teacher_folder), "epochs": 10, "learning_rate": 2e-3, "batch_size": 16,
    }  # fmt: skip
    definition["student"] = {"model": str(student_folder)}
    definition["recipe"] |= {"epochs": 6, "learning_rate": 3e-3, "batch_size": 16}
    definition["search"]["layers"] = [1, 2]
    definition["reference_points"]["distillation"] = {"layers": 2}
    definition["runtime"] = {"rounds_b1": 5, "rounds_b32": 3}
    definition["study"] = {"trials": 6}
    definition["resources"] = {"workers": 2}
    definition["report"] = "tables"  # One of the README's commands writes the page.
    (folder / "my_sweep.yaml").write_text(yaml.safe_dump(definition), encoding="utf-8")
    (folder / "slurm").symlink_to(ROOT / "slurm")
    return folder


@pytest.fixture(scope="module")
def outputs(workspace: Path) -> dict[str, str]:
    """What the README's commands print, run in their order."""
    commands = readme_commands()
    assert len(commands) >= 9
    fewer = [line.replace("--trials 40", "--trials 8") for line in commands]
    return {line: lmopt(line.removeprefix("lmopt "), workspace) for line in fewer}


@pytest.fixture(scope="module")
def rows(outputs: dict[str, str], workspace: Path) -> pd.DataFrame:
    """The results of the README's run, read as a stranger would."""
    return pd.read_parquet(workspace / "runs" / "my_sweep" / "results.parquet")


def output(outputs: dict[str, str], start: str) -> str:
    """Return what the README command that starts so printed."""
    return next(text for line, text in outputs.items() if line.startswith(start))


def test_submit_ends_with_the_tables_and_the_paths(outputs: dict[str, str]) -> None:
    text = output(outputs, "lmopt submit my_sweep.yaml --on local --wait")
    for said in (
        "prepare: teacher",
        "baseline",
        "linear",
        "best combination",
        "Pareto front",
        "results.parquet",
        "pareto_front.png",
        "pareto_front.svg",
        "6/6 trials",
    ):
        assert said in text  # fmt: skip
    assert re.search(r"^  4 lay \d+ .*×$", text, re.MULTILINE) and "nan" not in text


def test_resume_raises_the_total_and_keeps_what_was_there(
    outputs: dict[str, str], rows: pd.DataFrame, workspace: Path
) -> None:
    assert "8/8 trials" in output(outputs, "lmopt resume")
    assert sorted(rows["trial"].dropna()) == list(range(8))
    assert "nothing to do" in lmopt("resume runs/my_sweep", workspace)
    study = open_study(open_run(workspace / "runs" / "my_sweep"))
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 8


def test_every_number_is_of_the_saved_artifact(rows: pd.DataFrame) -> None:
    models = rows[rows["trial"].notna()]
    assert (models["state"] == "COMPLETE").all(), models["error"].tolist()
    for row in models.to_dict("records"):
        folder = Path(row["artifact_path"])
        assert folder.exists() or row["kind"] == "search", "only what nobody needs is removed"
        if folder.exists():
            size, digest = hash_files(folder, read_manifest(folder).files)
            assert (size, digest) == (row["size_bytes"], row["artifact_hash"])
        assert row["folder_bytes"] > row["size_bytes"]
        assert 0 <= row["accuracy_test"] <= 1 and row["accuracy_test_se"] >= 0
        assert len(row["latency_b1_samples_ms"]) == len(row["baseline_b1_samples_ms"]) >= 5
        assert row["speedup_b1_low"] <= row["speedup_b1"] <= row["speedup_b1_high"]
    assert models["processor"].notna().all() and models["git_commit"].notna().any()


def test_reference_points_are_what_they_say(rows: pd.DataFrame) -> None:
    by_method = rows[rows["method"].notna()].set_index("method")
    assert set(by_method.index) == {"baseline", "distillation", "pruning", "quantization", "linear"}
    baseline = by_method.loc["baseline"]
    assert baseline["accuracy_drop_test"] == 0 and baseline["agreement_test"] == 1
    assert baseline["accuracy_test"] > 0.6, "the teacher learned the task"
    assert by_method.loc["distillation", "parameters"] < 0.5 * baseline["parameters"]
    assert by_method.loc["pruning", "sparsity_measured"] > baseline["sparsity_measured"]
    assert by_method.loc["pruning", "size_bytes"] == pytest.approx(baseline["size_bytes"], rel=0.01)
    assert by_method.loc["quantization", "size_bytes"] < 0.6 * baseline["size_bytes"]
    assert by_method.loc["linear", "accuracy_test"] > 0.5


def test_the_front_was_timed_alone_and_reported(rows: pd.DataFrame, workspace: Path) -> None:
    assert rows.loc[rows["kind"] == "reference", "timed_alone"].all()
    report = workspace / "runs" / "my_sweep" / "report"
    assert {path.name for path in report.iterdir()} >= {
        "pareto_front.png", "pareto_front.svg", "tables.json",
    }  # fmt: skip


def test_pareto_speaks_json(outputs: dict[str, str]) -> None:
    found = json.loads(output(outputs, "lmopt pareto runs/my_sweep --json"))
    assert found["methods"][0]["method"] == "baseline"
    assert found["front"] and all(Path(path).suffix for path in found["figures"])


def test_logs_are_those_of_the_trial(outputs: dict[str, str]) -> None:
    assert "trial 2 attempt 0: pruning" in output(outputs, "lmopt logs runs/my_sweep 2")


def test_the_dry_run_needs_no_slurm(outputs: dict[str, str]) -> None:
    assert "#SBATCH" in output(outputs, "lmopt submit my_sweep.yaml --on slurm")


def test_the_notebook_runs_on_the_real_rows(
    rows: pd.DataFrame, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMOPT_RUN", str(workspace / "runs" / "my_sweep"))
    path = ROOT / "analysis" / "notebooks" / "01_pareto_front.ipynb"
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    kinds = [set(out.get("data", {})) for cell in notebook.cells for out in cell.get("outputs", [])]
    assert any("image/svg+xml" in kind for kind in kinds)
    assert any("text/html" in kind for kind in kinds)


def start(workspace: Path, name: str) -> Path:
    """Submit the sweep under another name; the stages are there already."""
    said = json.loads(lmopt(f"submit my_sweep.yaml --run-dir runs/{name} --json", workspace))
    run_dir = workspace / "runs" / name
    assert (said["run"], said["trials"]) == (str(run_dir), 6)
    assert {kind: len(jobs) for kind, jobs in said["jobs"].items()} == {
        "prepare": 1, "workers": 2, "measure": 0, "finalize": 1, "guards": 1,
    }  # fmt: skip
    return run_dir


def wait_for(condition: Callable[[], Any], timeout_s: float = 300) -> Any:
    """Wait until a condition holds and return what it said."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)
    return found


def working_job(run_dir: Path) -> dict[str, Any] | None:
    """Return what a worker in the middle of a trial says of itself."""
    for path in sorted((run_dir / "progress").glob("*.json")):
        try:
            found: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if found["trial"] is not None:
            return found
    return None


def pid_of(run_dir: Path, job_id: str) -> int:
    """Return the process of a job from its start record."""
    record = json.loads((run_dir / "jobs" / f"{job_id}.start.json").read_text())
    return int(record["pid"])


def check_complete(run_dir: Path, trials: int = 6) -> pd.DataFrame:
    """Each trial number is complete exactly once, rows and study agree; return all attempts."""
    final = final_attempts(load_results(run_dir))
    models = final[final["kind"] != "linear"]
    assert sorted(models["trial"]) == list(range(trials))
    assert (models["state"] == "COMPLETE").all(), models["error"].tolist()
    assert models["recipe_key"].is_unique
    assert final["git_commit"].nunique(dropna=False) == 1  # The linear model's too.
    study = open_study(open_run(run_dir))
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * trials
    return read_rows(run_dir)


def test_a_worker_killed_in_a_trial_is_healed_without_anybody(
    outputs: dict[str, str], workspace: Path
) -> None:
    run_dir = start(workspace, "killed")
    job = wait_for(lambda: working_job(run_dir))
    os.kill(pid_of(run_dir, job["job_id"]), signal.SIGKILL)
    wait_for((run_dir / "finished.json").exists)
    attempts = check_complete(run_dir)
    lost = attempts[attempts["state"] == "LOST"]
    assert list(lost["trial"]) == [job["trial"]] and lost["accuracy_test"].isna().all()
    logs = json.loads(lmopt(f"logs runs/killed {job['trial']} --json", workspace))
    assert {log["job"]: log["attempts"] for log in logs}[job["job_id"]] == [0]
    assert {attempt for log in logs for attempt in log["attempts"]} == {0, 1}
    said = lmopt(f"logs runs/killed {job['trial']}", workspace)
    assert f"{job['job_id']}_0_log.err (attempt 0) <==" in said and "(attempt 1) <==" in said


def test_everything_killed_and_resumed(outputs: dict[str, str], workspace: Path) -> None:
    run_dir = start(workspace, "wiped")
    wait_for(lambda: working_job(run_dir))
    for path in (run_dir / "jobs").glob("*.start.json"):
        record = json.loads(path.read_text())
        if psutil.pid_exists(record["pid"]):
            os.kill(record["pid"], signal.SIGKILL)
    time.sleep(0.5)
    (run_dir / "study.journal").unlink()
    found = json.loads(lmopt("resume runs/wiped --wait --json", workspace))
    assert found["finished"] and found["trials"]["COMPLETE"] == 6
    check_complete(run_dir)
    again = json.loads(lmopt("resume runs/wiped --json", workspace))
    assert not any(again["jobs"].values()) and again["jobs"].keys() == set(JOB_KINDS)
    assert json.loads(lmopt("resume runs/wiped --wait --json", workspace)) == found
    ended = json.loads(lmopt("cancel runs/wiped --json", workspace))
    assert ended == {"run": str(run_dir), "cancelled_jobs": 0}


def test_ctrl_c_ends_a_local_run_and_resume_goes_on(
    outputs: dict[str, str], workspace: Path
) -> None:
    run_dir = workspace / "runs" / "interrupted"
    process = subprocess.Popen(
        command_line("lmopt submit my_sweep.yaml --wait --run-dir runs/interrupted"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=workspace,
    )  # fmt: skip
    wait_for(lambda: run_dir.exists() and working_job(run_dir))
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 130 and "Traceback" not in errors, errors
    assert "lmopt resume runs/interrupted" in said
    assert lmopt("status runs/interrupted", workspace)
    assert "6/6 trials" in lmopt("resume runs/interrupted --wait", workspace)
    check_complete(run_dir)


def test_the_two_make_commands_of_the_readme_exist() -> None:
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        done = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
