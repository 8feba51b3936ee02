"""The winner taken home from a real (tiny) run, as a user does it and as their reader finds it."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from analysis.rows.table import load_results
from analysis.selection.objectives import candidates
from lmopt.config.task import TaskConfig
from lmopt.data.dataset import Data, Split
from lmopt.models.loading import load_classifier
from lmopt.runtimes.manifest import hash_files, read_manifest
from lmopt.runtimes.pytorch.runtime import PyTorch
from sweeps.definition.errors import ConfigError
from sweeps.disk.retention import kept_rows
from sweeps.export import export, verify
from sweeps.export.card import Exported
from sweeps.export.choose import Choice, choose_number
from sweeps.export.export import export_trial
from sweeps.export.verify import ExportError
from sweeps.run.directory import Run
from tests.conftest import TOPICS
from tests.sweeps.command import lmopt, lmopt_process, refused

pytestmark = pytest.mark.slow
DOCS = (Path(__file__).parents[3] / "docs" / "export.md").read_text(encoding="utf-8")
NOTHING_OF_OURS = """
import runpy, sys
for name in ("lmopt", "sweeps", "analysis", "slurm"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def choice(run: Run, trial: int, **changes: Any) -> Choice:
    """A trial's choice, its row changed at will."""
    found = choose_number(load_results(run.path), trial)
    return replace(found, row=found.row | changes)


def trial_with(run: Run, **params: Any) -> int:
    """The number of the searched trial with these parameters."""
    rows = candidates(load_results(run.path))
    for name, value in params.items():
        rows = rows[rows[f"param_{name}"].eq(value)]
    return int(rows["trial"].iloc[0])


def take(run: Run, chosen: Choice, dest: Path, **wishes: Any) -> export.Result:
    return export_trial(run, load_results(run.path), chosen, dest, **wishes)


@pytest.fixture(scope="module")
def taken(finished_run: Run, tmp_path_factory: Any) -> Path:
    """What `lmopt export` makes of the run, without any wish."""
    dest: Path = tmp_path_factory.mktemp("a user's home") / "winner"
    done = lmopt_process("export", finished_run.path, dest, cwd=dest.parent)
    assert done.returncode == 0, done.stderr
    assert "checked in a fresh process" in done.stdout and "winner/usage.py" in done.stdout
    return dest


def row_of(folder: Path, run: Run) -> dict[str, Any]:
    """The row whose artifact a folder holds."""
    rows = candidates(load_results(run.path))
    found = rows[rows["artifact_hash"].eq(read_manifest(folder).hash)]
    return {str(name): value for name, value in dict(found.iloc[0]).items()}


def test_the_folder_is_whole_and_its_files_are_those_of_the_row(
    taken: Path, finished_run: Run
) -> None:
    assert {path.name for path in taken.iterdir()} >= {
        "README.md", "SHA256SUMS", "config.json", "labels.json", "model.bin", "model.xml",
        "tokenizer.json", "usage.py",
    }  # fmt: skip
    row, manifest = row_of(taken, finished_run), read_manifest(taken)
    assert hash_files(taken, manifest.files) == (row["size_bytes"], row["artifact_hash"])
    assert json.loads((taken / "labels.json").read_text()) == sorted(TOPICS)
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(check, cwd=taken, capture_output=True).returncode == 0
    listed = (taken / "SHA256SUMS").read_text().count("\n")
    assert listed == len(list(taken.iterdir())) - 1
    assert {oct(path.stat().st_mode & 0o777) for path in taken.iterdir()} == {"0o644"}
    assert taken.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in taken.parent.iterdir()] == ["winner"]


def test_the_card_says_what_the_row_says(taken: Path, finished_run: Run) -> None:
    row = row_of(taken, finished_run)
    card = ModelCard.load(taken / "README.md")
    (result,) = card.data.eval_results or []
    assert result.metric_value == round(row["accuracy_test"], 4)
    assert card.data.license == "unknown" and card.data.library_name == "openvino"
    text = card.text
    for said in (
        f"{100 * row['accuracy_test']:.1f} ± {100 * row['accuracy_test_se']:.1f}",
        "baseline: the teacher, fp32, in openvino",
        "TF-IDF with logistic regression",
        row["artifact_hash"],
        row["processor"],
        row["recipe_json"],
        f"trial: {row['trial']}, attempt 0",
        "torch 2.",
        "test: 120 examples of 24 documents",
        "data texts.csv: unknown",
        "chosen on the validation split",
    ):
        assert said in text
    assert str(finished_run.path.parents[2]) not in card.content, "a folder of this machine"
    assert not re.search(r"\b(nan|None|NA)\b", text)


def test_usage_runs_where_lmopt_is_not(
    taken: Path, texts: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    moved = shutil.copytree(taken, tmp_path / "moved elsewhere")
    done = subprocess.run(
        [sys.executable, "-I", "-X", "utf8", "-c", NOTHING_OF_OURS, str(moved / "usage.py"),
         texts[0][0]],
        capture_output=True, encoding="utf-8", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    label, probability = done.stdout.split()
    assert label in TOPICS and 1 / 3 <= float(probability) <= 1


def test_an_artifact_that_was_not_kept_is_made_again_bit_for_bit(
    finished_run: Run, tmp_path: Path
) -> None:
    rows = candidates(load_results(finished_run.path))
    dropped = sorted(set(rows["trial"]) - set(kept_rows(finished_run)["trial"]))
    gone = [n for n in dropped if not Path(choice(finished_run, n).row["artifact_path"]).exists()]
    assert gone, "the finalizer removes what is not on the front"
    row = choice(finished_run, gone[0]).row
    done = lmopt("export", finished_run.path, "x", "--trial", gone[0], "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["trial"] == gone[0] and found["note"] is None
    assert found["size_bytes"] == row["size_bytes"]
    assert found["accuracy_test"] == row["accuracy_test"]
    assert read_manifest(tmp_path / "x").hash == row["artifact_hash"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size_bytes": 1}, r"the model files have \d+ bytes, the row says 1"),
        ({"accuracy_test": 0.123}, r"test accuracy is 0\.\d+, the row says 0\.1230"),
        (
            {"accuracy_test": 0.0, "accuracy_test_se": 0.01, "processor": "another"},
            r"test accuracy is .* may differ from another by 0\.0207",  # t(23) of 24 documents
        ),
    ],
)
def test_what_is_not_what_was_measured_is_not_there(
    finished_run: Run, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    trial = int(kept_rows(finished_run)["trial"].iloc[-1])
    with pytest.raises(ExportError, match=f"trial {trial} was not exported: {said}"):
        take(finished_run, choice(finished_run, trial, **changes), tmp_path / "dest")
    assert not list(tmp_path.iterdir())


def test_another_processor_may_differ_within_the_interval_and_the_card_says_so(
    finished_run: Run, tmp_path: Path
) -> None:
    trial = int(kept_rows(finished_run)["trial"].iloc[-1])
    row = choice(finished_run, trial).row
    changes = {"accuracy_test": row["accuracy_test"] + 0.01, "accuracy_test_se": 0.02}
    chosen = choice(finished_run, trial, **changes, processor="another")
    result = take(finished_run, chosen, tmp_path / "dest")
    assert result.note is not None and f"{row['accuracy_test']:.4f} instead of" in result.note
    assert result.note in (tmp_path / "dest" / "README.md").read_text(encoding="utf-8")


def test_an_interrupted_export_leaves_nothing(
    finished_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "write_card", interrupt)
    monkeypatch.setattr(export, "verify", lambda *_, **__: Exported("openvino", None, None))
    with pytest.raises(KeyboardInterrupt):
        take(finished_run, choice(finished_run, 0), tmp_path / "dest")
    assert not list(tmp_path.iterdir())


def test_a_usage_that_says_something_else_is_found_out(
    finished_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "run_usage", lambda *_: ("спорт", 0.01))
    with pytest.raises(ExportError, match=r"usage\.py says 'спорт' with 0\.0100, the model"):
        take(finished_run, choice(finished_run, 0), tmp_path / "dest")
    assert not list(tmp_path.iterdir())


def test_onnx_holds_the_model_before_four_bits_and_is_measured_anew(
    finished_run: Run, tmp_path: Path
) -> None:
    trial = trial_with(finished_run, bits=4, layers=2)
    done = lmopt(
        "export", finished_run.path, "onnx", "--trial", trial, "--format", "onnx", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "The trial has 4-bit weights, onnx holds 16-bit ones here" in done.stdout
    card = ModelCard.load(tmp_path / "onnx" / "README.md")
    assert "this folder: 16 bits in onnx" in card.text
    assert "the trial it was made from: 4 bits in openvino" in card.text
    assert card.data.library_name == "onnx"
    # The 32-bit trial of the same layers was trained alike: its accuracy is this one's.
    twin = choice(finished_run, trial_with(finished_run, bits=32, layers=2)).row
    (result,) = card.data.eval_results or []
    assert result.metric_value == pytest.approx(twin["accuracy_test"], abs=1 / 120 + 1e-4)


def test_a_plain_transformers_folder_has_the_model_s_logits(
    finished_run: Run, texts: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    trial = trial_with(finished_run, bits=32, layers=2)
    result = take(finished_run, choice(finished_run, trial), tmp_path / "x", form="transformers")
    assert result.note == "The transformers format was measured anew for accuracy and size; " \
        "speed was not"  # fmt: skip
    assert result.accuracy_test == choice(finished_run, trial).row["accuracy_test"]
    stage = json.loads(
        Path(choice(finished_run, trial).row["artifact_path"], "stage.json").read_text()
    )
    model = load_classifier(finished_run.cache / "distill" / stage["parents"][0]).eval()
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "x").eval()
    inputs = AutoTokenizer.from_pretrained(tmp_path / "x")(texts[0][0], return_tensors="pt")
    with torch.inference_mode():
        np.testing.assert_array_equal(plain(**inputs).logits, model(**inputs).logits)


def test_a_format_that_cannot_hold_the_model_says_why(
    finished_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def narrow(model_folder: Path, measured: Any, folder: Path) -> None:
        """Write what a surgery leaves that transformers' configuration cannot say."""
        model = load_classifier(model_folder)
        layer = model.bert.encoder.layer[0]
        layer.intermediate.dense = torch.nn.Linear(24, 16)
        layer.output.dense = torch.nn.Linear(16, 24)
        model.save_pretrained(folder)
        for path in model_folder.glob("tokenizer*"):
            shutil.copy(path, folder)

    exporter = PyTorch.exporter
    assert exporter is not None
    monkeypatch.setattr(PyTorch, "exporter", replace(exporter, write=narrow))
    chosen = choice(finished_run, trial_with(finished_run, bits=32, layers=2))
    with pytest.raises(ConfigError) as refusal:
        take(finished_run, chosen, tmp_path / "x", form="transformers")
    said = str(refusal.value)
    assert said.startswith("transformers cannot hold the model of trial") and "\n" not in said
    assert not list(tmp_path.iterdir())


def test_mistakes_are_one_line_and_nothing_is_computed(finished_run: Run, tmp_path: Path) -> None:
    run = finished_run.path
    (tmp_path / "here").mkdir()
    assert "here exists: remove it, or name" in refused(lmopt("export", run, "here", cwd=tmp_path))
    for arguments, said in (
        (["--trial", 99], "no trial 99; the nearest completed one is 5"),
        (["--max-size-mb", 0.001], "the nearest is trial"),
        (["--knee", "--trial", 1], "one of --trial, --knee"),
        (["--format", "gguf"], "--format must be one of openvino, onnx, transformers, got 'gguf'"),
    ):
        assert said in refused(lmopt("export", run, "new", *arguments, cwd=tmp_path))
    assert "no trial 99" in refused(lmopt("reproduce", run, 99, cwd=tmp_path))
    assert "no trial 'best'" in refused(lmopt("reproduce", run, "best", cwd=tmp_path))
    assert "cannot make /proc/w" in refused(lmopt("export", run, "/proc/w", cwd=tmp_path))
    assert "trial 99 has no artifact" in refused(lmopt("disk", run, "--keep", 99, cwd=tmp_path))
    assert not (tmp_path / "new").exists()


def test_every_command_of_the_page_runs(finished_run: Run, tmp_path: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", DOCS, flags=re.DOTALL)
    lines = [line.split(" #")[0] for block in blocks for line in block.splitlines() if line]
    assert len(lines) >= 8
    limits = {"drop 0.01": "drop 0.9", "mb 5": "mb 500", "speedup 8": "speedup 0.1"}  # tiny models
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "my_sweep").symlink_to(finished_run.path)
    for line in lines:
        for real, tiny in limits.items():
            line = line.replace(real, tiny)
        program, *arguments = shlex.split(line)
        if program == "lmopt":
            done = lmopt(*arguments, cwd=tmp_path)
        else:
            assert program == "python"
            done = subprocess.run(
                [sys.executable, *arguments], capture_output=True, text=True, cwd=tmp_path
            )
        assert done.returncode == 0, f"{line}: {done.stderr}"


def test_the_run_keeps_what_its_page_says(finished_run: Run) -> None:
    """The finalizer pruned by itself: the front and the reference points are there."""
    kept = kept_rows(finished_run)
    assert all(Path(path).exists() for path in kept["artifact_path"])
    assert {"baseline", "quantization"} <= set(kept["method"].dropna())


@pytest.mark.parametrize(
    ("recipe", "bits", "said"),
    [
        ({"clusters": 16}, 32, "stored as codebooks of 16 values, onnx holds each in 32 bits here"),
        ({"bits": 4}, 4, "The trial has 4-bit weights, onnx holds 16-bit ones here"),
        ({}, 32, "The onnx format was measured anew for accuracy and size"),
    ],
)
def test_what_a_format_does_not_store_as_the_trial_did_is_said(
    tmp_path: Path, recipe: dict[str, Any], bits: int, said: str
) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(3_000_000))
    labels = np.arange(4) % 2
    logits = np.eye(2, dtype=np.float32)[labels]
    prepared: Any = SimpleNamespace(
        task=TaskConfig(dataset="data.csv"),
        data=Data(["a", "b"], {"test": Split([], labels, labels)}, "key"),
        baseline_logits={"test": logits},
    )
    manifest: Any = SimpleNamespace(bits=bits)
    row = {"trial": 1, "recipe_json": json.dumps(recipe), "size_bytes": 500_000}
    written = verify.Written(tmp_path, "onnx", manifest, tmp_path)
    note = verify._measured_anew(prepared, row, written, logits).note
    assert note is not None and said in note
    assert ("3.00 MB instead of 0.50" in note) == bool(recipe)
