"""What of the cache stays and what goes: real stages and rows, of a pipeline that costs nothing."""

import copy
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from rich.console import Console

from analysis.rows.table import load_results
from analysis.selection.fronts import front_rows
from analysis.selection.objectives import candidates
from lmopt.hashing import content_hash
from lmopt.methods.recipe import Recipe
from lmopt.stages.cache import Stage, run_stage
from slurm.profile import load_profile
from sweeps.cli.render_files import disk_line, print_disk
from sweeps.definition.errors import ConfigError
from sweeps.definition.sweep import parse_sweep
from sweeps.disk import retention as keep
from sweeps.disk.retention import (
    ask_for,
    kept_rows,
    plan_cache,
    prune_artifacts,
    prune_now_and_then,
)
from sweeps.disk.usage import read_disk
from sweeps.export.artifacts import teacher_threads
from sweeps.jobs import prepare as prepare_job
from sweeps.jobs import worker
from sweeps.jobs.context import job_threads
from sweeps.jobs.prepare import prepare_run
from sweeps.run.directory import Run, create_run
from sweeps.run.files import write_json
from tests.sweeps.small_run import DEFINITION, fake_outcome, fake_prepared, make_job

MODEL_BYTES, ARTIFACT_BYTES = 40_000, 10_000


def build(cache: Path, name: str, size: int, parents: list[str], **parameters: Any) -> Stage:
    def write(folder: Path, _: Path) -> None:
        (folder / "weights").write_bytes(bytes(size))

    return run_stage(cache, name, write, version=1, parameters=parameters, parents=parents)


def run_recipe(prepared: Any, recipe: Recipe, *, cache: Path, **_: Any) -> Any:
    """A trained model that several bit-widths share, and an artifact of it."""
    trained = recipe.model_dump(include={"layers", "temperature", "epochs"})
    model = build(cache, "distill", MODEL_BYTES, [prepared.teacher_stage.key], **trained)
    artifact = build(cache, "artifact", ARTIFACT_BYTES, [model.key], bits=recipe.bits)
    return replace(fake_outcome(recipe, cache), artifact=artifact.path)


@pytest.fixture
def definition() -> dict[str, Any]:
    """A sweep with more trials off its front than on it."""
    changed = copy.deepcopy(DEFINITION)
    changed["objectives"] = {"accuracy_validation": "maximize", "size_bytes": "minimize"}
    changed["study"] = {"trials": 16, "sampler": "random", "seed": 3}
    return changed


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline as the worker sees it, with real stages."""

    def load_prepared(run: Run, *_: Any) -> Any:
        prepared = fake_prepared()
        prepared.teacher_stage = build(run.cache, "teacher", MODEL_BYTES, [])
        baseline = build(run.cache, "artifact", ARTIFACT_BYTES, [prepared.teacher_stage.key])
        prepared.baseline16 = baseline.path
        return prepared

    for module in (prepare_job, worker):
        monkeypatch.setattr(module, "load_prepared", load_prepared)
    monkeypatch.setattr(worker, "run_recipe", run_recipe)
    for name in ("read_task", "linear_baseline", "write_linear_row"):
        monkeypatch.setattr(prepare_job, name, lambda *_, **__: None)


def sweep_through(run: Run) -> Run:
    """Prepare and run every trial in this process."""
    job = make_job(run)
    with pytest.MonkeyPatch.context() as patch:
        for module in (prepare_job, worker):
            patch.setattr(module, "this_job", lambda: job)
        prepare_run(str(run.path))
        worker.work(str(run.path), 0, run.profile.job("worker"))
    return run


@pytest.fixture
def swept(run: Run, pipeline: None) -> Run:
    """A run with all its trials, pruned by nobody since its first one."""
    return sweep_through(run)


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({}, False),
        ({"recipe": {"epochs": 1, "unlabelled_examples": 9}}, True),
        ({"reference_points": {"more": {"epochs": 1, "unlabelled_examples": 9}}}, True),
    ],
)
def test_the_prepare_job_labels_extra_text_for_those_who_distil_on_it(
    changes: dict[str, Any],
    asked: bool,
    run: Run,
    definition: dict[str, Any],
    pipeline: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[bool] = []
    monkeypatch.setattr(prepare_job, "extra_texts", lambda *_, labelled: called.append(labelled))
    task = {**definition["task"], "unlabelled": {"dataset": "more.txt"}}
    other = beside(run, definition, run.path.parent / "other", task=task, **changes)
    monkeypatch.setattr(prepare_job, "this_job", lambda: make_job(other))
    prepare_run(str(other.path))
    assert called == [asked]


def beside(run: Run, definition: dict[str, Any], folder: Path, **changes: Any) -> Run:
    """Another run with the same cache."""
    sweep = parse_sweep({**definition, **changes}, source="test")
    return create_run(folder, sweep, load_profile("local"), run.cache, {})


def artifacts(run: Run, trials: Any) -> set[Path]:
    models = candidates(load_results(run.path))
    return {Path(path) for path in models.loc[models["trial"].isin(trials), "artifact_path"]}


def existing(paths: set[Path]) -> set[Path]:
    return {path for path in paths if path.exists()}


def test_only_the_front_and_the_reference_points_keep_their_artifacts(swept: Run) -> None:
    rows = load_results(swept.path)
    models = candidates(rows)
    front = front_rows(rows, swept.sweep.objectives)["trial"]
    kept = artifacts(swept, [*front, *models.loc[models["kind"].eq("reference"), "trial"]])
    everything = artifacts(swept, models["trial"])
    assert kept < everything
    freed = prune_artifacts(swept)
    assert existing(everything) == kept
    assert freed >= ARTIFACT_BYTES * len(everything - kept)
    assert prune_artifacts(swept) == 0
    assert read_disk(swept).removable_bytes == 0


def test_what_all_trials_start_from_and_trained_models_stay(swept: Run) -> None:
    before = {path for path in swept.cache.glob("*/*/weights") if "artifact" not in str(path)}
    baseline16 = load_prepared_path(swept)
    prune_artifacts(swept)
    assert existing(before) == before and baseline16.exists()


def load_prepared_path(run: Run) -> Path:
    noted = json.loads((run.path / "prepared.json").read_text())
    keys = noted["stages"]
    # The workers noted it as well, and did not take their own threads for the teacher's.
    assert noted["threads"] == job_threads(make_job(run)) == teacher_threads(run, 7)
    (path,) = [
        run.cache / "artifact" / key for key in keys if (run.cache / "artifact" / key).exists()
    ]
    return path


def test_an_artifact_that_was_asked_for_stays(swept: Run) -> None:
    kept = artifacts(swept, kept_rows(swept)["trial"])
    models = candidates(load_results(swept.path))
    chosen = next(n for n in models["trial"] if not artifacts(swept, [n]) & kept)
    ask_for(swept, [chosen])
    prune_artifacts(swept)
    (path,) = artifacts(swept, [chosen])
    assert path.exists() and chosen in read_disk(swept).kept_trials
    with pytest.raises(ConfigError, match="trial 99 has no artifact to keep; completed are: 0, 1"):
        ask_for(swept, [99])


def test_spare_models_are_bounded_the_oldest_go_first(
    tmp_path: Path, definition: dict[str, Any], pipeline: None
) -> None:
    definition["resources"] = {"spare_disk_gb": 2.5 * MODEL_BYTES / 1e9}
    sweep = parse_sweep(definition, source="test")
    run = create_run(tmp_path / "run", sweep, load_profile("local"), tmp_path / "cache", {})
    sweep_through(run)
    parents = {
        json.loads((path / "stage.json").read_text())["parents"][0]
        for path in artifacts(run, kept_rows(run)["trial"])
    }
    models = sorted((run.cache / "distill").glob("*/weights"))
    assert len(models) > len(parents) > 2
    for age, weights in enumerate(models):
        os.utime(f"{weights.parent}.used", (1000 - age, 1000 - age))
    prune_artifacts(run)
    left = [weights.parent for weights in models if weights.exists()]
    assert len(left) == 2  # 2.5 models' worth
    assert {path.name for path in left} <= parents  # What kept artifacts came from goes last.
    oldest = [weights.parent for weights in models if weights.parent.name in parents][:2]
    assert left == oldest  # Age falls along the list: its first were used last.
    disk = read_disk(run)
    assert disk.spare_bytes <= disk.limit_bytes and disk.removable_bytes == 0


def test_another_run_with_the_same_cache_has_a_say(
    swept: Run, definition: dict[str, Any], tmp_path: Path
) -> None:
    """Its front is another one: it wants speed, which does not depend on bits here."""
    objectives = {"accuracy_validation": "maximize", "speedup_b1": "maximize"}
    other = sweep_through(
        beside(swept, definition, tmp_path / "far" / "away", objectives=objectives)
    )
    theirs = artifacts(other, kept_rows(other)["trial"])
    mine = artifacts(swept, kept_rows(swept)["trial"])
    assert theirs - mine, "else this test shows nothing"
    prune_artifacts(swept)
    assert existing(theirs) == theirs and existing(mine) == mine
    assert read_disk(swept).others_bytes >= ARTIFACT_BYTES * len(theirs - mine)


def test_a_run_that_cannot_be_read_keeps_everything(swept: Run, definition: dict[str, Any]) -> None:
    other = sweep_through(beside(swept, definition, swept.path.parent / "old"))
    everything = artifacts(other, range(100))
    (other.path / "sweep.yaml").write_text("of: another version\n")
    prune_artifacts(swept)
    assert existing(everything) == everything


def test_a_run_that_is_gone_or_has_another_cache_has_none(
    swept: Run, definition: dict[str, Any]
) -> None:
    other = sweep_through(beside(swept, definition, swept.path.parent / "old"))
    write_json(other.path / "run.json", {"cache": "/elsewhere", "trials": 12})
    folder = swept.cache / "runs"
    write_json(folder / f"{content_hash('x')}.json", {"run": str(swept.path.parent / "deleted")})
    kept = artifacts(swept, kept_rows(swept)["trial"])
    prune_artifacts(swept)
    assert existing(artifacts(swept, range(100))) == kept


def test_what_another_process_uses_now_stays_for_now(swept: Run) -> None:
    used = plan_cache(swept).removable[0]
    code = "import sys; from pathlib import Path; from lmopt.stages.cache import hold; " \
        "print(hold(Path(sys.argv[1])), flush=True); sys.stdin.read()"  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", code, str(used)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as reader:  # fmt: skip
        assert reader.stdout is not None and reader.stdout.readline() == "True\n"
        prune_artifacts(swept)
        assert used.exists() and plan_cache(swept).removable == [used]
        reader.communicate("")
    prune_artifacts(swept)
    assert not used.exists()


def test_leftovers_of_the_killed_are_swept_up(swept: Run) -> None:
    folder = swept.cache / "distill"
    names = (
        "0" * 16 + ".gone",
        "1" * 16 + ".scratch",
        "2" * 16 + ".scratch",
        "3" * 16 + ".scratch",
    )
    for name in names:
        (folder / name).mkdir()
        (folder / name / "checkpoint").write_bytes(bytes(1000))
    old = time.time() - 2 * keep.ABANDONED_S
    for name in names[1:3]:
        os.utime(folder / name, (old, old))
    with FileLock(folder / ("2" * 16 + ".lock")):  # its builder lives
        prune_artifacts(swept)
    assert [(folder / name).exists() for name in names] == [False, False, True, True]


def test_one_prunes_while_the_others_go_on(swept: Run) -> None:
    removable = plan_cache(swept).removable
    with FileLock(swept.cache / "prune.lock"):
        assert prune_artifacts(swept) == 0
    assert all(path.exists() for path in removable)


def test_workers_prune_now_and_then(swept: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    removable = plan_cache(swept).removable
    prune_now_and_then(swept)
    assert all(path.exists() for path in removable), "somebody did a moment ago"
    os.utime(swept.cache / "prune.stamp", (0, 0))
    prune_now_and_then(swept)
    assert not any(path.exists() for path in removable)

    def fail(_: Run) -> int:
        raise OSError("stale file handle")

    os.utime(swept.cache / "prune.stamp", (0, 0))
    monkeypatch.setattr(keep, "prune_cache", fail)
    prune_now_and_then(swept)  # a worker goes on
    assert prune_artifacts(swept) == 0


def test_disk_use_adds_up_and_is_shown(swept: Run) -> None:
    disk = read_disk(swept)
    cache = sum(path.stat().st_size for path in swept.cache.glob("*/*/*"))
    parts = (disk.kept_bytes, disk.shared_bytes, disk.spare_bytes, disk.removable_bytes)
    assert sum(parts) == cache and disk.total_bytes == cache + disk.run_bytes
    assert disk.to_json()["total_bytes"] == disk.total_bytes
    assert "spare models" in disk_line(disk) and "of at most 20.00 GB" in disk_line(disk)
    console = Console(width=80)
    with console.capture() as capture:
        print_disk(disk, console)
    text = capture.get()
    assert "removable" in text and max(map(len, text.splitlines())) <= 80


def test_a_run_without_any_trial_has_nothing_to_remove(run: Run) -> None:
    assert prune_artifacts(run) == 0
    assert read_disk(run).kept_trials == []
