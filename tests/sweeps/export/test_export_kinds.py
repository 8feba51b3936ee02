"""Every kind of compressed model, of every runtime, taken home in every format that can hold it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.rows.table import load_results, write_row
from lmopt.methods.recipe import Recipe
from lmopt.pipeline.trial import run_recipe
from lmopt.runtimes.manifest import hash_files, read_manifest
from lmopt.stages.cache import RECORD
from slurm.profile import load_profile
from sweeps.definition.errors import ConfigError
from sweeps.definition.sweep import parse_sweep
from sweeps.export import verify
from sweeps.export.choose import choose_number
from sweeps.export.export import Result, export_trial
from sweeps.run.claims import Claim
from sweeps.run.directory import Run, create_run
from sweeps.run.prepared import load_prepared
from sweeps.run.rows import Row, identity, measured
from tests.sweeps.small_run import tiny_definition

pytestmark = pytest.mark.slow
TRAINING = {"epochs": 2, "learning_rate": 3e-3, "batch_size": 16}
KINDS: dict[str, dict[str, Any]] = {
    "static": {"layers": 0, "bits": 4},
    "trimmed": {
        "vocabulary_min_count": 1, "ffn_keep": 0.5, "structure_scope": "layer", "bits": 8,
    },
    "pruned": {"ffn_keep": 0.5, "heads_keep": 0.5, "embedding_rank": 8, "bits": 3},
    "codebook": {"clusters": 16},
    "narrow": {"hidden_size": 32, "epochs": 6, "bits": 2, "finetune_epochs": 4},
}  # fmt: skip
# Forms of weights that only the runtime that measured them has.
STORED: dict[str, dict[str, Any]] = {
    "nf4": {"bits": 4, "number_format": "nf4"},
    "int8 activations": {"bits": 8, "activation_bits": 8},
    "int8, embeddings in 4 bits": {"bits": 8, "embedding_bits": 4},
}
ONLY_OURS = {
    "static": "it has no class for static embeddings",
    "pruned": "it has no setting for factorised word embeddings, removed attention heads",
}
WITHOUT_LMOPT = """
import runpy, sys
for name in ("lmopt", "sweeps", "analysis", "slurm"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

Take = Callable[..., tuple[Result, Row]]


@pytest.fixture(autouse=True)
def _without_lmopt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an export check its usage.py in a process that cannot import lmopt."""

    def run_usage(folder: Path, text: str) -> tuple[str, float]:
        done = subprocess.run(
            [sys.executable, "-I", "-X", "utf8", "-c", WITHOUT_LMOPT, str(folder / "usage.py"),
             text],
            capture_output=True, encoding="utf-8",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        label, probability = done.stdout.split()
        return label, float(probability)

    monkeypatch.setattr(verify, "run_usage", run_usage)


@pytest.fixture(scope="module")
def take(
    tmp_path_factory: pytest.TempPathFactory,
    csv_file: Path,
    teacher_folder: Path,
    student_folder: Path,
) -> Take:
    """Measure a recipe in a runtime, unless it was already, and export it."""
    home = tmp_path_factory.mktemp("home")
    runs: dict[str, Run] = {}

    def run_in(runtime: str) -> Run:
        if runtime not in runs:
            definition = tiny_definition(csv_file, teacher_folder, student_folder)
            definition["runtime"]["name"] = runtime
            # Nothing is searched here, and not every runtime can store what this names.
            definition |= {"search": {"layers": [1, 2]}, "reference_points": {}}
            sweep, profile = parse_sweep(definition, source="test"), load_profile("local")
            runs[runtime] = create_run(home / runtime, sweep, profile, home / "cache", {})
        return runs[runtime]

    def measure(run: Run, recipe: Recipe, number: int) -> None:
        prepared = load_prepared(run, 1)
        outcome = run_recipe(prepared, recipe, cache=run.cache, threads=1)
        started, plain = "2026-01-01T00:00:00+00:00", recipe.model_dump()
        claim = Claim(
            number, 0, "job", 0, "node", started, {}, plain, recipe.key(), None, None, None
        )
        row = identity(run, claim) | {"state": "COMPLETE", **measured(prepared, outcome)}
        write_row(row, run.path / "trials" / f"{number}.parquet")

    numbers: dict[tuple[str, str], int] = {}

    def take(
        changes: dict[str, Any], dest: Path, form: str | None = None, runtime: str = "openvino"
    ) -> tuple[Result, Row]:
        run, recipe = run_in(runtime), Recipe(**TRAINING | changes)
        key = runtime, recipe.key()
        if key not in numbers:
            numbers[key] = len(numbers)
            measure(run, recipe, numbers[key])
        rows = load_results(run.path)
        choice = choose_number(rows, numbers[key])
        return export_trial(run, rows, choice, dest, form=form), choice.row

    return take


def check_native(folder: Path, row: Row, result: Result) -> None:
    """Every file is the artifact's, and the numbers are the row's."""
    assert hash_files(folder, read_manifest(folder).files) == (
        row["size_bytes"], row["artifact_hash"],
    )  # fmt: skip
    assert (result.size_bytes, result.accuracy_test) == (row["size_bytes"], row["accuracy_test"])
    artifact = Path(row["artifact_path"])
    names = {path.name for path in artifact.iterdir()} - {RECORD}
    assert names <= {path.name for path in folder.iterdir()}
    assert result.note is None and result.accuracy_test > 0.8


@pytest.mark.parametrize("kind", [*KINDS, *STORED])
def test_as_it_was_measured(kind: str, take: Take, tmp_path: Path) -> None:
    result, row = take({**KINDS, **STORED}[kind], tmp_path / "x")
    assert result.form == "openvino"
    check_native(tmp_path / "x", row, result)


@pytest.mark.parametrize(
    ("kind", "form"),
    [(kind, "onnx") for kind in KINDS]
    + [(kind, "transformers") for kind in KINDS if kind not in ONLY_OURS],
)
def test_in_another_format(kind: str, form: str, take: Take, tmp_path: Path) -> None:
    result, row = take(KINDS[kind], tmp_path / "x", form)
    assert result.form == form and "accuracy" in (result.note or "")
    # Rounding the weights costs a few of 120 texts; a wrong file costs more.
    assert result.accuracy_test == pytest.approx(row["accuracy_test"], abs=0.03)


@pytest.mark.parametrize("kind", ONLY_OURS)
def test_transformers_has_no_name_for_it(kind: str, take: Take, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        take(KINDS[kind], tmp_path / "x", "transformers")
    assert str(refusal.value).endswith(f": {ONLY_OURS[kind]}; export it without --format")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("runtime", "changes"),
    [
        ("onnxruntime", {"heads_keep": 0.5}),
        ("onnxruntime", {"vocabulary_min_count": 1, "bits": 8}),
        ("onnxruntime", {"layers": 0, "bits": 4}),
        ("torch", {"vocabulary_min_count": 1, "bits": 16}),
    ],
)
def test_other_runtimes(runtime: str, changes: dict[str, Any], take: Take, tmp_path: Path) -> None:
    result, row = take(changes, tmp_path / "x", runtime=runtime)
    assert result.form == {"onnxruntime": "onnx", "torch": "transformers"}[runtime]
    check_native(tmp_path / "x", row, result)


def test_a_torch_artifact_that_only_lmopt_loads_goes_as_onnx(take: Take, tmp_path: Path) -> None:
    changes = {"heads_keep": 0.5}
    with pytest.raises(ConfigError, match=r"^transformers cannot .*; take --format onnx$"):
        take(changes, tmp_path / "x", runtime="torch")
    assert not list(tmp_path.iterdir())
    result, row = take(changes, tmp_path / "x", "onnx", "torch")
    assert result.accuracy_test == pytest.approx(row["accuracy_test"], abs=0.03)


@pytest.mark.parametrize(("runtime", "bits"), [("onnxruntime", 8), ("torch", 16)])
def test_an_artifact_of_another_runtime_is_no_openvino(
    runtime: str, bits: int, take: Take, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"was measured in {runtime}, not in openvino: export"):
        take({"vocabulary_min_count": 1, "bits": bits}, tmp_path / "x", "openvino", runtime)
    assert not list(tmp_path.iterdir())
