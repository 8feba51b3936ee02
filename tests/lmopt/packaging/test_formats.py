"""Exported folders: what they hold, and that strangers' libraries load them with equal logits."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from lmopt.data.tokens import Tokens, pad, save_tokens, tokenize
from lmopt.models.loading import load_classifier, load_tokenizer
from lmopt.models.shape import only_ours
from lmopt.packaging.formats import model_files, stored_bits, write_checksums, write_labels
from lmopt.packaging.reload import evaluate_folder
from lmopt.packaging.usage_script import USAGE, run_usage, usage_text
from lmopt.runtimes.manifest import copy_artifact, hash_files, read_manifest, transfer_bytes
from lmopt.runtimes.onnxruntime.artifact import OPSET
from lmopt.runtimes.onnxruntime.export import write_onnx
from lmopt.runtimes.openvino.artifact import build_artifact
from lmopt.runtimes.sessions import open_session
from lmopt.stages.cache import RECORD

NAMES = ["деньги", "наука", "спорт"]
# Shorter than the longest text, so that truncation counts; no multiple of a padded length.
LENGTH = 13

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def classifier(classifier_folder: Path, tmp_path_factory: Any) -> Path:
    """A random classifier whose classes are told apart: its head is large."""
    folder: Path = tmp_path_factory.mktemp("large")
    model = load_classifier(classifier_folder)
    with torch.no_grad():
        model.classifier.weight.mul_(40)
    model.config.id2label = dict(enumerate(NAMES))
    model.save_pretrained(folder)
    load_tokenizer(classifier_folder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokens(classifier: Path, texts: list[tuple[str, str, str]]) -> Tokens:
    return tokenize(load_tokenizer(classifier), [text for text, _, _ in texts[::9]], LENGTH)


@pytest.fixture(scope="module")
def expected(classifier: Path, tokens: Tokens) -> Any:
    """Logits of the model in torch, in fp32."""
    ids, mask = pad([tokens[i] for i in range(len(tokens))], 0)
    with torch.inference_mode():
        model = load_classifier(classifier).eval()
        return model(torch.from_numpy(ids), torch.from_numpy(mask)).logits.numpy()


@pytest.fixture(scope="module")
def tokens_file(tokens: Tokens, tmp_path_factory: Any) -> Path:
    path: Path = tmp_path_factory.mktemp("tokens") / "tokens.npz"
    save_tokens(path, {"test": tokens})
    return path


def artifact(classifier: Path, folder: Path, bits: Any) -> Path:
    folder.mkdir()
    build_artifact(classifier, LENGTH, folder, bits=bits)
    (folder / RECORD).write_text("{}")
    return folder


def evaluate(folder: Path, tokens_file: Path, form: str = "transformers") -> Any:
    return evaluate_folder(folder, form, tokens_file, ["test"], pad_id=0, threads=1)["test"]


@pytest.mark.parametrize(("bits", "held", "error"), [(32, 32, 1e-5), (16, 16, 1e-2), (4, 16, 1e-2)])
def test_onnx_runtime_gives_the_model_s_logits(
    bits: Any, held: int, error: float,
    classifier: Path, tokens_file: Path, expected: Any, tmp_path: Path,
) -> None:  # fmt: skip
    measured = read_manifest(artifact(classifier, tmp_path / "artifact", bits))
    folder = tmp_path / "onnx"
    folder.mkdir()
    write_onnx(classifier, measured, folder)
    assert stored_bits("onnx", bits) == held
    found = evaluate(folder, tokens_file, "onnx")
    assert np.abs(found - expected).max() <= error * np.abs(expected).max()
    manifest = read_manifest(folder)
    assert (manifest.runtime, manifest.bits, manifest.files) == (
        "onnxruntime",
        held,
        ("model.onnx",),
    )
    assert hash_files(folder, manifest.files) == (manifest.size_bytes, manifest.hash)
    assert manifest.transfer_bytes == transfer_bytes(folder / "model.onnx")
    proto = onnx.load(folder / "model.onnx")
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", OPSET)]
    weights = [numpy_helper.to_array(w) for w in proto.graph.initializer]
    large = {w.dtype for w in weights if w.size >= 1024}
    assert large == {np.dtype(np.float16 if held == 16 else np.float32)}


def test_from_pretrained_loads_the_plain_folder_with_equal_logits(
    classifier: Path, tokens: Tokens, tokens_file: Path, expected: Any, tmp_path: Path
) -> None:
    copy_artifact(classifier, tmp_path)
    np.testing.assert_allclose(evaluate(tmp_path, tokens_file), expected, rtol=1e-4, atol=1e-5)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert list(model.config.id2label.values()) == NAMES
    ids = AutoTokenizer.from_pretrained(tmp_path)("учёный открыл закон")["input_ids"]
    assert ids == load_tokenizer(classifier)("учёный открыл закон")["input_ids"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "bert"}, None),
        ({"model_type": "bert", "lmopt_shape": {"ffn": [3, 4]}}, "FFNs of different widths"),
        ({"model_type": "lmopt_static"}, "no class for static embeddings"),
    ],
)
def test_what_transformers_has_no_name_for(
    config: dict[str, Any], said: str | None, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    reason = only_ours(tmp_path)
    assert reason is None if said is None else said in (reason or "")


def test_a_folder_that_transformers_would_fill_with_chance_is_refused(
    classifier: Path, tokens_file: Path, tmp_path: Path
) -> None:
    """A missing weight is drawn at random by `from_pretrained`, with a warning at most."""
    model = load_classifier(classifier)
    kept = {k: v for k, v in model.state_dict().items() if "layer.0.intermediate" not in k}
    model.save_pretrained(tmp_path, state_dict=kept)
    with pytest.raises(ValueError, match=r"missing keys: bert.*intermediate.*\(2 in all\)"):
        evaluate(tmp_path, tokens_file)


def test_a_shape_that_the_configuration_does_not_say_is_refused(
    classifier: Path, tokens_file: Path, tmp_path: Path
) -> None:
    copy_artifact(classifier, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 96}))
    with pytest.raises(ValueError) as refused:
        evaluate(tmp_path, tokens_file)
    assert "\n" not in str(refused.value)


def test_what_torch_cannot_export_says_so_in_one_line(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.onnx.errors.UnsupportedOperatorError("aten::odd", OPSET, None)

    measured = read_manifest(artifact(classifier, tmp_path / "artifact", 32))
    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ValueError, match=r"cannot export this bert model to ONNX: .*aten::odd"):
        write_onnx(classifier, measured, tmp_path)


def exported(form: str, classifier: Path, folder: Path) -> Path:
    """A folder with everything that `usage.py` reads."""
    bits = 32 if form != "openvino8" else 8
    made = artifact(classifier, folder.with_name(f"{form}-artifact"), bits)
    measured = read_manifest(made)
    folder.mkdir()
    if form.startswith("openvino"):
        copy_artifact(made, folder)
    elif form == "onnx":
        write_onnx(classifier, measured, folder)
    else:
        copy_artifact(classifier, folder)
    write_labels(folder, NAMES)
    precision = measured.precision if form.startswith("openvino") else None
    place = folder.parent if form.endswith("slow") else folder  # There is no tokenizer.json.
    text = usage_text(
        place,
        form.rstrip("8").removesuffix("-slow"),
        model_files(folder),
        LENGTH,
        precision,
        pad_id=measured.pad_id + (form == "openvino8"),  # What is masked may be any token.
        pad_to_multiple_of=8 if form in ("openvino", "openvino8") else 0,
    )
    (folder / USAGE).write_text(text, encoding="utf-8")
    return folder


WITHOUT_LMOPT = """
import runpy, sys
for name in ("lmopt", "sweeps", "analysis", "slurm"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("form", ["openvino", "openvino8", "openvino-slow", "onnx", "transformers"])
def test_usage_runs_without_lmopt_and_says_what_the_model_says(
    form: str, classifier: Path, texts: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    folder = exported(form, classifier, tmp_path / "a folder's name")
    text = " ".join(text for text, _, _ in texts[:3])  # Longer than LENGTH tokens.
    ids, mask = pad([tokenize(load_tokenizer(classifier), [text], LENGTH)[0]], 0)
    assert ids.shape == (1, LENGTH)
    if form.startswith("openvino"):
        logits = open_session(folder, 1)(ids, mask)[0]
    else:
        with torch.inference_mode():
            model = load_classifier(classifier).eval()
            logits = model(torch.from_numpy(ids), torch.from_numpy(mask)).logits[0].numpy()
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    done = subprocess.run(
        [sys.executable, "-I", "-X", "utf8", "-c", WITHOUT_LMOPT, str(folder / USAGE), text],
        capture_output=True, encoding="utf-8", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    label, probability = done.stdout.split()
    assert label == NAMES[shares.argmax()]
    assert float(probability) == pytest.approx(shares.max(), abs=0.02)
    assert run_usage(folder, text) == (label, float(probability))
    _, *statements = ast.parse((folder / USAGE).read_text(encoding="utf-8")).body
    silent = subprocess.run(
        [sys.executable, "-I", str(folder / USAGE)], capture_output=True, text=True, cwd=tmp_path
    )
    assert silent.returncode == 1 and 'python usage.py "some text"' in silent.stderr
    assert sum(not isinstance(node, ast.Import | ast.ImportFrom) for node in statements) <= 13


def test_usage_that_fails_says_why(classifier: Path, tmp_path: Path) -> None:
    folder = exported("openvino", classifier, tmp_path / "folder")
    (folder / "labels.json").unlink()
    with pytest.raises(RuntimeError, match=r"usage\.py failed: FileNotFoundError.*labels\.json"):
        run_usage(folder, "text")


def test_an_artifact_is_copied_without_the_cache_s_record(classifier: Path, tmp_path: Path) -> None:
    made = artifact(classifier, tmp_path / "artifact", 8)
    copy_artifact(made, tmp_path / "copy")
    names = {path.name for path in made.iterdir()}
    assert {path.name for path in (tmp_path / "copy").iterdir()} == names - {RECORD}


def test_checksums_are_what_sha256sum_reads(tmp_path: Path) -> None:
    (tmp_path / "a b").write_text("text")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "ü").write_bytes(bytes(range(256)))
    write_checksums(tmp_path)
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    (tmp_path / "a b").write_text("other")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 1
