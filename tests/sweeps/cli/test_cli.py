"""The command as a user meets it: help, mistakes, exit codes, JSON."""

import fcntl
import json
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from lmopt.methods.recipe import Recipe
from sweeps.definition.errors import ConfigError
from sweeps.run.directory import Run, create_run
from tests.sweeps.command import lmopt, lmopt_process, refused

COMMANDS = [
    "check", "submit", "resume", "status", "cancel", "logs", "rebuild", "doctor", "pareto",
    "report", "compare", "dashboard", "export", "reproduce", "disk", "schema",
]  # fmt: skip


def test_the_version_is_that_of_the_package() -> None:
    assert lmopt_process("--version").stdout == f"lmopt {version('lmopt')}\n"


def test_a_process_says_what_the_command_says_here(tmp_path: Path) -> None:
    """The other tests of messages run the command in their own process."""
    for arguments in (["status", tmp_path], ["status"], ["check", "none.yaml", "--json"]):
        here, there = (run(*arguments, cwd=tmp_path) for run in (lmopt, lmopt_process))
        assert (here.returncode, here.stdout) == (there.returncode, there.stdout)
        said = there.stderr.replace("python -m sweeps.cli", "lmopt")
        assert here.stderr.split() == said.split() != []


def test_help_names_every_command() -> None:
    text = lmopt("--help").stdout
    assert all(re.search(rf"│ {name}\b", text) for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_of_itself(name: str) -> None:
    text = lmopt(name, "--help").stdout
    assert f"Example:  lmopt {name}" in text


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    heavy = "torch transformers optuna pandas pyarrow submitit openvino sklearn matplotlib"
    code = f"import sys, sweeps.cli; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_login_node_never_loads_torch() -> None:
    """Nor do a guard, or a finalizer that only submits the next round."""
    rooms = "report.status report.build run.logs preflight.check preflight.doctor"
    jobs = "jobs.resume jobs.launch jobs.entry jobs.guard jobs.finalizer"
    modules = ", ".join(f"sweeps.{name}" for name in f"{rooms} {jobs}".split())
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.fixture
def sweep_file(tmp_path: Path, definition: dict[str, Any]) -> Path:
    """A sweep over a small csv file and a folder that looks like a model."""
    rows = ["text,label"] + [f"some text number {i},{'ab'[i % 2]}" for i in range(40)]
    (tmp_path / "data.csv").write_text("\n".join(rows))
    (tmp_path / "teacher").mkdir()
    config = {"num_hidden_layers": 3, "hidden_size": 8}
    (tmp_path / "teacher" / "config.json").write_text(json.dumps(config))
    definition["task"]["dataset"] = str(tmp_path / "data.csv")
    definition["teacher"]["model"] = str(tmp_path / "teacher")
    return write(tmp_path / "small.yaml", definition)


def write(path: Path, definition: dict[str, Any]) -> Path:
    """Write a definition as YAML."""
    path.write_text(yaml.safe_dump(definition))
    return path


def test_check_shows_what_would_run(sweep_file: Path) -> None:
    done = lmopt("check", sweep_file)
    assert done.returncode == 0, done.stderr
    for said in ("temperature: 1.0, 2.0, 4.0", "36 points", "baseline", "12 trials", "core-hours"):
        assert said in done.stdout
    found = json.loads(lmopt("check", sweep_file, "--json").stdout)
    assert found["points"] == 36 and found["estimate"]["core_hours"] > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task": {"dataset": "/no/such.csv"}}, "/no/such.csv"),
        ({"task": {"text_column": "txt"}}, "no column 'txt' (task.text_column)"),
        ({"teacher": {"model": "/no/such/model"}}, "/no/such/model"),
        ({"task": {"dataset": "datta.csv"}}, "no such folder or file: datta.csv in "),
        ({"task": {"dataset": "package:no_such_package/data"}}, "pip install"),
    ],
)
def test_inputs_that_are_not_there_are_named_before_anything_runs(
    sweep_file: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    definition = yaml.safe_load(sweep_file.read_text())
    for section, values in change.items():
        definition[section] |= values
    write(sweep_file, definition)
    assert said in refused(lmopt("check", sweep_file))
    assert said in refused(lmopt("submit", sweep_file, cwd=tmp_path))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["text,label", "one,a", "two,a", "three,b", "four,a", "five,a"], "'b'"),
        (["text,label", "one,a", ",b", "three,b", "four,a"], "empty text in line 3 of data.csv"),
        (
            ["text,label", "one,a", "two,", "three,b", "four,a"],
            "missing label in line 3 of data.csv",
        ),
    ],
)
def test_data_that_cannot_be_used_is_refused(sweep_file: Path, rows: list[str], said: str) -> None:
    (sweep_file.parent / "data.csv").write_text("\n".join(rows))
    assert said in refused(lmopt("check", sweep_file))


def test_mistakes_on_the_command_line_are_one_line(run: Run, tmp_path: Path) -> None:
    assert "no sweep definition" in refused(lmopt("check", tmp_path / "none.yaml"))
    assert "not a run directory" in refused(lmopt("status", tmp_path))
    assert f"did you mean {run.path}" in refused(lmopt("status", run.path.parent))
    assert "no finished trial yet" in refused(lmopt("pareto", run.path))
    assert "no trial 7" in refused(lmopt("logs", run.path, "7"))


def test_a_profile_that_is_not_there_is_named(sweep_file: Path) -> None:
    assert "no profile nowhere" in refused(lmopt("check", sweep_file, "--on", "nowhere"))


def test_what_is_taken_for_a_hub_id_is_said(sweep_file: Path) -> None:
    definition = yaml.safe_load(sweep_file.read_text())
    definition["teacher"]["model"] = "somebody/bert"
    write(sweep_file, definition)
    said = lmopt("check", sweep_file).stdout
    assert "teacher.model somebody/bert is not on this machine" in " ".join(said.split())


def test_check_says_time_limits_both_ways_and_what_cannot_grow(
    sweep_file: Path, tmp_path: Path
) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text("scheduler: slurm\ntime_min: 4:00:00\nfinalize: {time_min: 30:00}")
    said = " ".join(lmopt("check", sweep_file, "--on", profile).stdout.split())
    assert "240 min (4:00:00): prepare, worker, measure" in said
    assert "30 min (0:30:00): finalize" in said
    assert "profile mine gives no mem_gb" in said
    profile.write_text("scheduler: slurm\ntime_min: 60\nmem_gb: 4")
    assert "mem_gb" not in lmopt("check", sweep_file, "--on", profile).stdout


def test_a_folder_that_is_no_run_is_not_called_one(sweep_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = refused(lmopt("submit", sweep_file, "--run-dir", tmp_path / "empty"))
    assert "exists and is no run directory: choose another directory with --run-dir" in said


def test_a_run_directory_that_exists_is_not_touched(run: Run, sweep_file: Path) -> None:
    before = sorted(run.path.rglob("*"))
    assert "lmopt resume" in refused(lmopt("submit", sweep_file, "--run-dir", run.path))
    assert sorted(run.path.rglob("*")) == before


def test_status_of_a_fresh_run(run: Run) -> None:
    done = lmopt("status", run.path)
    assert "0/12 trials" in done.stdout and "12 waiting" in done.stdout, done.stderr
    assert "\x1b" not in done.stdout
    assert json.loads(lmopt("status", run.path, "--json").stdout)["budget"] == 12


def test_a_terminal_without_unicode_gets_other_marks(run: Run) -> None:
    done = lmopt_process("status", run.path, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "\n" + "." * 60 + "\n" in done.stdout
    said = lmopt_process("status", "/путь – ≤", env={"PYTHONIOENCODING": "ascii"}).stderr
    assert r"/\u043f\u0443\u0442\u044c - <=" in said


def test_json_is_not_of_a_dry_run(sweep_file: Path) -> None:
    assert "leave out one" in refused(lmopt("submit", sweep_file, "--dry-run", "--json"))


def test_dry_run_prints_the_scripts_and_leaves_nothing(sweep_file: Path, tmp_path: Path) -> None:
    done = lmopt("submit", sweep_file, "--on", "cpu_cluster", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = re.findall(r"#SBATCH --job-name=lmopt-small-([\w-]+)", done.stdout)
    assert names == ["prepare", "worker", "finalize", "guard-finalize", "measure"]
    assert "#SBATCH --constraint=icelake" in done.stdout
    assert "### worker, at most 240 min (4:00:00)\n" in done.stdout
    assert "### guard, at most 45 min (0:45:00)\n" in done.stdout
    assert re.findall(r"#SBATCH --time=(\d+)", done.stdout) == ["240", "240", "120", "45", "240"]
    cost = done.stdout.splitlines()[-1]
    assert cost.startswith("### projected cost: about ")
    assert cost.endswith("the time limits of the 2 worker jobs allow 32")  # 2 x 4 cores x 4 h
    assert not (tmp_path / "runs").exists()


def test_the_dry_run_prints_the_array_that_the_queue_has_room_for(
    definition: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slurm.profile import Profile
    from sweeps.definition.sweep import parse_sweep
    from sweeps.jobs import launch
    from sweeps.preflight.cost import Counts
    from sweeps.preflight.dry_run import render_run

    monkeypatch.setattr(launch, "submission_room", lambda *_: 4 + launch.OTHER_JOBS)
    profile = Profile(name="x", scheduler="slurm", time_min=60, trials_per_job=1)
    said = render_run(
        parse_sweep(definition, source="x"), profile, tmp_path / "runs" / "small", Counts()
    )
    assert re.findall(r"--array=(\S+)%", said) == ["0-3"]


@pytest.mark.parametrize("command", ["check", "submit"])
def test_more_threads_than_cores_are_refused(
    tmp_path: Path, sweep_file: Path, definition: dict[str, Any], command: str
) -> None:
    path = write(tmp_path / "wide.yaml", {**definition, "runtime": {"threads": 3}})
    said = refused(lmopt(command, path, cwd=tmp_path))
    assert "runtime.threads must be at most the cpus of a worker job, got 3 threads and 1" in said
    assert not (tmp_path / "runs").exists()


def test_the_cost_is_that_of_the_reference_points_and_of_the_searchs_mean(
    definition: dict[str, Any], tmp_path: Path
) -> None:
    from sweeps.definition.sweep import parse_sweep
    from sweeps.preflight.cost import Counts, training_operations

    (tmp_path / "config.json").write_text('{"num_hidden_layers": 6, "hidden_size": 10}')
    changes: dict[str, Any] = {
        "teacher": {"model": str(tmp_path)},
        "student": {},
        "recipe": {"epochs": 1, "recovery_epochs": 1, "structure_epochs": 2, "finetune_epochs": 3},
        "search": {"layers": [None, 2], "hidden_size": [10, 8]},
        "reference_points": {
            "one": {"layers": 1, "clusters": 4, "sparsity": 0.5, "ffn_keep": 0.5},
            "nothing": dict.fromkeys(Recipe.epoch_fields(), 0),
            "static": {"layers": 0},
        },
        "study": {"trials": 5},
    }
    sweep = parse_sweep({**definition, **changes}, source="x")
    assert training_operations(sweep, Counts()) is None
    one, mean = 12 * 1 * 10**2 * 7, 12 * 4 * 9**2 * 7
    assert training_operations(sweep, Counts(50)) == 6 * 128 * 50 * (one + 2 * mean)
    changes["recipe"] |= {"train_examples": 10}
    few = parse_sweep({**definition, **changes}, source="x")
    assert training_operations(few, Counts(50)) == 6 * 128 * 10 * (one + 2 * mean)
    assert training_operations(few, Counts()) == 6 * 128 * 10 * (one + 2 * mean)


@pytest.mark.parametrize(("asked", "extra", "read"), [(30, 70, 30), (30, 10, 10), (None, 70, 70)])
def test_the_cost_of_pretraining_is_that_of_all_its_texts_and_of_the_teacher_s_forwards(
    asked: int | None, extra: int, read: int, definition: dict[str, Any], tmp_path: Path
) -> None:
    from sweeps.definition.sweep import parse_sweep
    from sweeps.preflight.cost import Counts, training_operations

    for name, layers in (("teacher", 6), ("student", 3)):
        (tmp_path / name).mkdir()
        shape = {"num_hidden_layers": layers, "hidden_size": 10}
        (tmp_path / name / "config.json").write_text(json.dumps(shape))
    point = {"layers": 1, "hidden_size": 5, "pretrain_epochs": 2, "pretrain_examples": asked}
    changes: dict[str, Any] = {
        "teacher": {"model": str(tmp_path / "teacher")},
        "student": {"model": str(tmp_path / "student")},
        "recipe": {"epochs": 3},
        "search": {"bits": [8, 4]},
        "reference_points": {"pretrained": point},
        "study": {"trials": 1},
    }
    sweep = parse_sweep({**definition, **changes}, source="x")
    student, teacher = 12 * 1 * 5**2, 12 * 6 * 10**2
    texts = 20 + read
    expected = 128 * (6 * student * (20 * 3 + texts * 2) + 2 * teacher * texts)
    assert training_operations(sweep, Counts(20, extra)) == expected
    unknown = training_operations(sweep, Counts(20, None))
    assert (unknown is None) == (asked is None)


def test_the_cost_counts_a_pretraining_once_that_trials_share(
    definition: dict[str, Any], tmp_path: Path
) -> None:
    from sweeps.definition.sweep import parse_sweep
    from sweeps.preflight.cost import Counts, training_operations

    (tmp_path / "config.json").write_text('{"num_hidden_layers": 6, "hidden_size": 10}')
    same = {"layers": 2, "pretrain_epochs": 1}
    changes: dict[str, Any] = {
        "teacher": {"model": str(tmp_path)},
        "student": {},
        "recipe": {"layers": 1, "pretrain_epochs": 1, "pretrain_examples": 0},
        "search": {"bits": [8, 4, 2], "seed": [0, 1], "clusters": [None, 4]},
        "reference_points": {"a": {**same, "bits": 8}, "b": {**same, "clusters": 4}},
        "study": {"trials": 9},
    }
    sweep = parse_sweep({**definition, **changes}, source="x")
    layer = 12 * 10**2
    one, two = (6 * layers * layer + 2 * 6 * layer for layers in (1, 2))
    assert training_operations(sweep, Counts(20)) == 128 * 20 * (two + 2 * one)


def test_a_run_of_the_same_task_is_found_though_its_paths_were_made_absolute(
    tmp_path: Path, definition: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from slurm.profile import load_profile
    from sweeps.definition.sweep import parse_sweep
    from sweeps.preflight.cost import _similar
    from sweeps.run.directory import create_run

    monkeypatch.chdir(tmp_path)
    for name in ("data.csv", "more.txt"):
        Path(name).touch()
    Path("teacher").mkdir()
    Path("teacher/config.json").write_text('{"num_hidden_layers": 6, "hidden_size": 10}')
    definition["task"]["unlabelled"] = {"dataset": "more.txt"}
    sweep = parse_sweep(definition, source="x")
    run = create_run(Path("runs/a"), sweep, load_profile("local"), Path("cache"), {})
    assert run.sweep.task.unlabelled.dataset == str(tmp_path / "more.txt")
    assert list(_similar(sweep, Path("runs"))) == [Path("runs/a")]


def test_rebuild_makes_the_study_again(run: Run) -> None:
    from sweeps.study.study import open_study

    before = [trial.user_attrs for trial in open_study(run).trials]
    run.journal.write_text("not a journal")
    assert "made the study again" in lmopt("rebuild", run.path).stdout
    assert [trial.user_attrs for trial in open_study(run).trials] == before


@pytest.mark.slow
def test_doctor_looks_at_this_machine_and_at_a_job(tmp_path: Path) -> None:
    done = lmopt("doctor", "--on", "local", "--dir", tmp_path / "it's here", "--json")
    found = {line["what"]: line for line in json.loads(done.stdout)}
    wrong = {what for what, line in found.items() if line["remedy"]}
    assert wrong <= {"packages", "disk"}, done.stdout  # of the machine that tests this
    assert "same packages" in found["worker node, python"]["said"]
    assert found["worker node, locks"]["said"] == "reach across nodes"
    assert not any((tmp_path / "it's here").iterdir())


def test_doctor_says_who_has_the_cores_of_this_machine(tmp_path: Path) -> None:
    place = {"TMPDIR": str(tmp_path)}
    folder = tmp_path / f"lmopt-cores-{os.getuid()}"
    folder.mkdir()
    with (folder / "queue.lock").open("w") as queue:
        fcntl.flock(queue, fcntl.LOCK_EX)  # as a job does that waits for cores
        done = lmopt_process("doctor", "--on", "local", "--wait-s", 1, cwd=tmp_path, env=place)
    assert done.returncode == 1 and "no answer in 1 s" in done.stdout, done.stderr
    assert "other jobs of lmopt on this machine have its cores" in done.stdout


def test_doctor_says_what_to_do_where_slurm_is_not(tmp_path: Path) -> None:
    place = {"PATH": str(tmp_path)}
    done = lmopt("doctor", "--on", "cpu_cluster", cwd=tmp_path, env=place)
    assert done.returncode == 1 and "FAIL slurm: scontrol is not on this machine" in done.stdout
    assert "-> run this on a login node" in done.stdout


def test_a_path_in_a_remedy_can_be_copied(tmp_path: Path) -> None:
    place = tmp_path / "my runs" / "first"
    place.mkdir(parents=True)
    (place / "sweep.yaml").touch()
    nothing: Any = None  # the place is looked at first
    with pytest.raises(ConfigError) as error:
        create_run(place, nothing, nothing, tmp_path, {})
    assert f"'lmopt resume {shlex.quote(str(place))}'" in str(error.value)
