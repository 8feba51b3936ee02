import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch

from lmopt.compression.student import build_student
from lmopt.config.base import BITS, Bits
from lmopt.data.tokens import Tokens, pad, tokenize
from lmopt.models.loading import load_classifier, load_tokenizer
from lmopt.runtimes.manifest import folder_bytes, hash_files, read_manifest
from lmopt.runtimes.openvino.artifact import build_artifact
from lmopt.runtimes.openvino.weights import store
from lmopt.runtimes.sessions import open_session
from lmopt.training.trainer import predict_logits
from lmopt.weights.rounding import Format

NAMES = ["деньги", "наука", "спорт"]
# Largest error allowed of an artifact's logits, relative to their spread over texts. 32: rounding
# only; 16: bf16 where the processor has it. Fewer bits on random weights are tested as weights.
TOLERANCE: dict[Bits, float] = {32: 1e-4, 16: 0.05, 8: 0.2}


@pytest.fixture(scope="module")
def narrow(make_bert: Callable[..., Path], tmp_path_factory: Any) -> Path:
    """A classifier of rubert-tiny2's widths, 312 and 600, with weights large enough to matter."""
    folder: Path = tmp_path_factory.mktemp("narrow")
    base = make_bert(hidden=312, layers=1, heads=12, ffn=600, extra=600)
    build_student(base, NAMES, None, 0, folder)
    model = load_classifier(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def artifacts(narrow: Path, tmp_path_factory: Any) -> dict[Bits, Path]:
    """The artifact of the narrow model at every bit-width."""
    folders: dict[Bits, Path] = {bits: tmp_path_factory.mktemp(f"bits{bits}") for bits in BITS}
    for bits, folder in folders.items():
        build_artifact(narrow, 32, folder, bits=bits)
    return folders


@pytest.fixture(scope="module")
def tokens(narrow: Path, texts: list[tuple[str, str, str]]) -> Tokens:
    return tokenize(load_tokenizer(narrow), [text for text, _, _ in texts[::6]], 32)


@pytest.mark.parametrize("bits", TOLERANCE)
def test_the_reloaded_artifact_agrees_with_the_model_it_was_made_from(
    bits: Bits, artifacts: dict[Bits, Path], narrow: Path, tokens: Tokens
) -> None:
    model = load_classifier(narrow).eval()
    input_ids, mask = pad([tokens[i] for i in range(len(tokens))], 0)
    with torch.inference_mode():
        expected = model(torch.from_numpy(input_ids), torch.from_numpy(mask)).logits.numpy()
    got = open_session(artifacts[bits], threads=1)(input_ids, mask)
    spread = expected.std(axis=0).mean()
    assert got.dtype == np.float32
    assert np.sqrt(((got - expected) ** 2).mean()) <= TOLERANCE[bits] * spread


@pytest.mark.parametrize(("bits", "group"), [(8, 48), (4, 24), (3, 24), (2, 24), (2, 16), (4, -1)])
def test_weights_are_rounded_to_half_a_step(bits: Bits, group: int) -> None:
    """A linear layer shows its stored weights when it is given the identity matrix."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(48, 32, bias=False)
    identity = torch.eye(48)
    holder = torch.nn.Module()
    holder.model, holder.forward = layer, lambda x: layer(x)
    converted = ov.convert_model(holder, example_input=identity)
    store(converted, {"weight": Format(bits, group=group)})
    compiled = ov.Core().compile_model(
        converted,
        "CPU",
        {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0},
    )
    stored = compiled(identity.numpy())[0].T  # (32, 48)
    weight = layer.weight.detach().numpy()
    groups = weight.reshape(32, -1, 48 if group == -1 else group)
    if bits >= 4:  # With a zero point: the whole range in 2^bits - 1 steps.
        low, high = groups.min(-1, keepdims=True), groups.max(-1, keepdims=True)
        step, limit = (np.maximum(high, 0) - np.minimum(low, 0)) / (2**bits - 1), 1.0
    else:  # Symmetric: the largest magnitude is 2^(bits - 1) steps, the other end is cut by one.
        step, limit = np.abs(groups).max(-1, keepdims=True) / 2 ** (bits - 1), 2.0
    error = np.abs(stored - weight).reshape(groups.shape) / step
    # Scales have 11 significant bits: that much of 2^bits steps; zero points are rounded too.
    assert error.max() <= limit * 0.5 + 2**bits / 2**12 + 0.03
    assert error.mean() > 0.1  # It has been rounded at all.
    assert len(np.unique((stored.reshape(groups.shape) / step).round(2)[0, 0])) <= 2**bits


def test_padding_companions_do_not_change_fp32_logits(
    artifacts: dict[Bits, Path], tokens: Tokens
) -> None:
    session = open_session(artifacts[32], threads=1)
    few = [tokens[i] for i in range(5)] + [np.tile(tokens[0], 3)]
    together = session(*pad(few, 0))
    for i, ids in enumerate(few):
        np.testing.assert_allclose(session(*pad([ids], 0))[0], together[i], atol=1e-4)


def test_bytes_are_those_of_the_bits(artifacts: dict[Bits, Path], narrow: Path) -> None:
    """`bits` a weight, and a 16-bit scale (4 bits: and a zero) for a group of 52 or 60."""
    model = load_classifier(narrow)
    matrices = sum(p.numel() for p in model.parameters() if p.dim() == 2)
    vectors = sum(p.numel() for p in model.parameters() if p.dim() == 1)
    per_weight = {32: 32, 16: 16, 8: 8, 4: 4 + 20 / 52, 3: 3 + 16 / 52, 2: 2 + 16 / 52}
    for bits, folder in artifacts.items():
        expected = matrices * per_weight[bits] / 8 + vectors * (2 if bits == 16 else 4)
        actual = (folder / "model.bin").stat().st_size
        assert actual == pytest.approx(expected, rel=0.06), bits


def test_the_manifest_tells_the_truth(artifacts: dict[Bits, Path], narrow: Path) -> None:
    for bits, folder in artifacts.items():
        manifest = read_manifest(folder)
        assert manifest.bits == bits
        assert manifest.precision == ("f32" if bits == 32 else None)
        assert manifest.label_names == tuple(NAMES)
        assert (manifest.size_bytes, manifest.hash) == hash_files(folder, manifest.files)
        assert manifest.size_bytes < folder_bytes(folder)
        assert manifest.parameters == sum(p.numel() for p in load_classifier(narrow).parameters())
        assert load_tokenizer(folder)("матч")["input_ids"]
    assert len({read_manifest(folder).hash for folder in artifacts.values()}) == len(BITS)


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 8, "activation_bits": 8},
        {"bits": 8, "activation_bits": 8, "embedding_bits": 4},
        {"bits": 8, "embedding_bits": 2},
        {"bits": 4, "number_format": "nf4", "embedding_bits": 3},
        {"bits": 4, "rounding": "scale_estimation"},
        {"bits": 4, "rounding": "gptq", "embedding_bits": 8},
        {"bits": 3, "rounding": "awq", "embedding_bits": 2},
    ],
    ids=str,
)
def test_every_way_to_store_runs_and_is_near_the_model(
    options: dict[str, Any], narrow: Path, tokens: Tokens, tmp_path: Path
) -> None:
    calibration = [pad([tokens[i]], 0) for i in range(24)]
    build_artifact(narrow, 32, tmp_path, **options, calibration=calibration)
    batch = pad([tokens[i] for i in range(len(tokens))], 0)
    got = open_session(tmp_path, threads=1)(*batch)
    expected = predict_logits(load_classifier(narrow), tokens, device="cpu")
    agreement = [np.corrcoef(got[:, i], expected[:, i])[0, 1] for i in range(len(NAMES))]
    low = min(options["bits"], options.get("embedding_bits", 32))
    assert min(agreement) > {8: 0.95, 4: 0.85, 3: 0.5, 2: 0.1}[low]
    model = load_classifier(narrow)
    tables = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Embedding))
    linear = sum(p.numel() for p in model.parameters() if p.dim() == 2) - tables
    vectors = sum(p.numel() for p in model.parameters() if p.dim() == 1)
    table_bits = options.get("embedding_bits", options["bits"])
    per_weight = {8: 8, 4: 4 + 20 / 52, 3: 3 + 16 / 52, 2: 2 + 16 / 52}
    bits = linear * per_weight[options["bits"]] + tables * per_weight[table_bits]
    assert (tmp_path / "model.bin").stat().st_size <= 1.25 * (bits / 8 + 4 * vectors)


def test_a_folder_without_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no artifact: it has no lmopt\.json"):
        open_session(tmp_path, threads=1)


def test_torch_in_the_parent_and_the_runtime_agree_on_order(
    artifacts: dict[Bits, Path], narrow: Path, tokens: Tokens
) -> None:
    from lmopt.measurement.evaluation import predict

    by_torch = predict_logits(load_classifier(narrow), tokens, device="cpu", batch_size=7)
    by_runtime = predict(open_session(artifacts[32], 1), tokens, 0, lambda fraction: None)
    assert (by_torch.argmax(1) == by_runtime.argmax(1)).mean() >= 0.95


def test_equal_weights_give_equal_files_whatever_was_converted_before(
    narrow: Path, artifacts: dict[Bits, Path], tmp_path: Path
) -> None:
    """A hash or a size that counts the conversions of a process could never be reproduced."""
    code = (
        "import sys; from pathlib import Path; "
        "from lmopt.runtimes.openvino.artifact import build_artifact; "
        "model, folder = map(Path, sys.argv[1:]); folder.mkdir(); "
        "build_artifact(model, 32, folder, bits=4)"
    )
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-c", code, str(narrow), str(fresh)], check=True)
    assert read_manifest(fresh) == read_manifest(artifacts[4])
