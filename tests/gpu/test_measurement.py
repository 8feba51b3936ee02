"""The torch runtime on a GPU: logits, timing, the row's processor, and a lack of memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analysis.rows.table import read_rows
from lmopt.config.models import StudentConfig, TeacherConfig
from lmopt.config.task import TaskConfig
from lmopt.data.batches import Examples
from lmopt.data.tokens import load_tokens, pad, save_tokens
from lmopt.measurement.measure import Timed, evaluate, time_in_turn
from lmopt.methods.recipe import Recipe
from lmopt.pipeline.prepare import prepare
from lmopt.pipeline.trial import run_recipe
from lmopt.runtimes.config import RuntimeConfig
from lmopt.runtimes.registry import processor_of, runtime_named
from lmopt.runtimes.sessions import open_session
from slurm.profile import load_profile
from sweeps.definition.sweep import parse_sweep
from sweeps.jobs import worker
from sweeps.run.directory import create_run
from tests.sweeps.small_run import DEFINITION, fake_prepared, make_job

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def tokens_file(examples: Examples, tmp_path_factory: Any) -> Path:
    path: Path = tmp_path_factory.mktemp("tokens") / "tokens.npz"
    save_tokens(path, {"validation": examples.tokens, "test": examples.tokens})
    return path


@pytest.fixture(scope="module")
def artifacts(classifier_folder: Path, tmp_path_factory: Any) -> dict[int, Path]:
    """The torch artifact in 32 and in 16 bits."""
    made = {bits: tmp_path_factory.mktemp(f"torch{bits}") for bits in (32, 16)}
    for bits, folder in made.items():
        runtime_named("torch").build(classifier_folder, 32, folder, {"bits": bits})
    return made


@pytest.mark.usefixtures("measuring_process")
@pytest.mark.parametrize(("bits", "tolerance"), [(32, 1e-3), (16, 0.05)])
def test_a_fresh_process_evaluates_on_the_gpu(
    bits: int, tolerance: float, artifacts: dict[int, Path], tokens_file: Path
) -> None:
    on_gpu = evaluate(artifacts[bits], tokens_file, ["test"], threads=1, device="cuda")["test"]
    on_cpu = evaluate(artifacts[32], tokens_file, ["test"], threads=1, device="cpu")["test"]
    np.testing.assert_allclose(on_gpu, on_cpu, atol=tolerance)


def test_a_timed_call_is_the_work_and_not_its_launch(
    artifacts: dict[int, Path], tokens_file: Path
) -> None:
    """A call returns before the GPU is done, unless something waits for it."""
    timed = Timed(artifacts[32], tokens_file)
    latency, _ = time_in_turn({"a": timed}, threads=1, rounds_b1=6, rounds_b32=30, device="cuda")
    tokens = load_tokens(tokens_file)["validation"]
    inputs = pad([tokens[i] for i in range(32)], 0)
    session = open_session(artifacts[32], 1, "cuda")
    for _ in range(3):
        session(*inputs)
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begun.record()
    session(*inputs)
    ended.record()
    torch.cuda.synchronize()
    on_the_gpu_ms = begun.elapsed_time(ended)
    assert np.median(latency["b32"]["a"]) > 0.3 * on_the_gpu_ms


def test_a_whole_recipe_on_a_gpu_names_it(
    csv_file: Path, teacher_folder: Path, tmp_path: Path
) -> None:
    task = TaskConfig(
        dataset=str(csv_file), text_column="body", label_column="topic",
        group_column="document", max_length=32,
    )  # fmt: skip
    teacher = TeacherConfig(model=str(teacher_folder), epochs=10, learning_rate=2e-3, batch_size=16)
    runtime = RuntimeConfig(name="torch", device="cuda", rounds_b1=6, rounds_b32=3)
    prepared = prepare(task, teacher, StudentConfig(), runtime, cache=tmp_path, threads=1)
    recipe = Recipe(layers=2, epochs=6, learning_rate=3e-3, batch_size=16, bits=16)
    outcome = run_recipe(prepared, recipe, cache=tmp_path, threads=1)
    assert outcome.processor == torch.cuda.get_device_name() == processor_of("torch", "auto")
    assert (outcome.logits["test"].argmax(1) == prepared.labels["test"]).mean() > 0.85
    assert {name: len(found) for name, found in outcome.latency["b1"].items()} == dict.fromkeys(
        ("baseline", "baseline16", "trial"), 6
    )


def test_a_lack_of_gpu_memory_is_a_lost_attempt_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A larger job may take such a trial over; an error of Python would have failed it."""

    def run_recipe(*_: Any, **__: Any) -> Any:
        total = torch.cuda.get_device_properties(0).total_memory
        return torch.empty(2 * total, dtype=torch.uint8, device="cuda")

    sweep = parse_sweep(DEFINITION, source="test")
    run = create_run(tmp_path / "run", sweep, load_profile("local"), tmp_path / "cache", {})
    job = make_job(run)
    monkeypatch.setattr(worker, "this_job", lambda: job)
    monkeypatch.setattr(worker, "load_prepared", lambda *_: fake_prepared())
    monkeypatch.setattr(worker, "run_recipe", run_recipe)
    worker.work(str(run.path), 0, run.profile.job("worker"))
    rows = read_rows(run.path)
    assert len(rows) and rows["state"].eq("LOST").all(), rows["error"].tolist()
    assert rows["error"].str.startswith("out of memory: CUDA out of memory").all()
    assert rows["error"].str.endswith("; lower batch_size").all()


@pytest.mark.usefixtures("measuring_process")
def test_the_measuring_process_sees_the_gpus_of_its_job_alone(
    artifacts: dict[int, Path], tokens_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm names a job's GPUs in CUDA_VISIBLE_DEVICES; here it gave none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(RuntimeError, match="torch sees no GPU here"):
        evaluate(artifacts[32], tokens_file, ["test"], threads=1, device="cuda")
