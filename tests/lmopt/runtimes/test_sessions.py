"""Every runtime at every width against the torch model that its artifact was made from."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    PreTrainedModel,
    RobertaConfig,
    XLMRobertaConfig,
)

from lmopt.data.tokens import Ints, load_tokens, pad, save_tokens, tokenize
from lmopt.environment import processor_name
from lmopt.measurement.measure import Timed, evaluate, time_in_turn
from lmopt.methods.recipe import Recipe
from lmopt.models.loading import load_classifier, load_tokenizer
from lmopt.runtimes.config import RuntimeConfig, RuntimeName
from lmopt.runtimes.manifest import folder_bytes, hash_files, read_manifest
from lmopt.runtimes.registry import RUNTIMES, refusal, runtime_named, runtime_versions
from lmopt.runtimes.sessions import open_session
from lmopt.training.device import has_bf16

LENGTH = 64
VOCABULARY = 120
CASES = [(runtime.name, bits) for runtime in RUNTIMES for bits in runtime.bits]
# Largest root mean square error of an artifact's logits, relative to their spread over texts, for
# matrices of 32 columns with random weights; a wrong position or mask costs 1 or more. 32: rounding
# only. 16: bf16 products in OpenVINO and torch, half-float weights in ONNX Runtime. 8: weights, and
# in ONNX Runtime activations. 4: what so few random weights bear; OpenVINO's 4, 3 and 2 bits are
# tested as weights (test_quantize.py).
TOLERANCE = {32: 1e-4, 16: 0.1, 8: 0.1, 4: 0.6}


def tolerance(runtime: str, bits: int) -> float:
    """Error as a share of the logits' spread; ONNX Runtime's int8 saturates without VNNI."""
    saturates = (runtime, bits) == ("onnxruntime", 8) and "vnni" not in processor_name()
    return TOLERANCE[bits] * (3 if saturates else 1)


AGREE = [
    (runtime, bits)
    for runtime, bits in CASES
    if bits in TOLERANCE and (runtime, bits) != ("openvino", 4)
]

SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": LENGTH,
    "num_labels": 3,
    "pad_token_id": 0,
}
# Their positions begin after the padding's.
SHIFTED = SHAPE | {"max_position_embeddings": LENGTH + 2, "pad_token_id": 1}
FAMILIES: dict[str, Callable[[], Any]] = {
    "bert": lambda: BertConfig(**SHAPE),
    "distilbert": lambda: DistilBertConfig(
        vocab_size=VOCABULARY, dim=32, n_layers=2, n_heads=4, hidden_dim=64, num_labels=3,
        max_position_embeddings=LENGTH, pad_token_id=0,
    ),
    "roberta": lambda: RobertaConfig(**SHIFTED, type_vocab_size=1),
    "xlm-roberta": lambda: XLMRobertaConfig(**SHIFTED, type_vocab_size=1),
    "electra": lambda: ElectraConfig(**SHAPE, embedding_size=16),
    "albert": lambda: AlbertConfig(**SHAPE, embedding_size=16),
    "deberta-v2": lambda: DebertaV2Config(
        **SHAPE, relative_attention=True, position_buckets=16, pos_att_type=["p2c", "c2p"],
        share_att_key=True, norm_rel_ebd="layer_norm", position_biased_input=False,
        type_vocab_size=0,
    ),
    "mpnet": lambda: MPNetConfig(**SHIFTED),
}  # fmt: skip


@pytest.fixture(scope="module")
def classifiers(classifier_folder: Path, tmp_path_factory: Any) -> dict[str, Path]:
    """A small saved classifier of each family, its matrices large enough to matter."""
    folders: dict[str, Path] = {}
    for name, config in FAMILIES.items():
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(config())
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 2:
                    parameter.mul_(3)
        folders[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(folders[name])
        load_tokenizer(classifier_folder).save_pretrained(folders[name])  # Of no matter here.
    return folders


@pytest.fixture(scope="module")
def build(classifiers: dict[str, Path], tmp_path_factory: Any) -> Callable[..., Path]:
    """Make (once) the artifact of a family for a runtime at a width."""
    made: dict[tuple[str, str, int], Path] = {}

    def make(family: str, runtime: str, bits: Any) -> Path:
        key = (family, runtime, bits)
        if key not in made:
            made[key] = tmp_path_factory.mktemp(f"{family}-{runtime}-{bits}")
            runtime_named(runtime).build(classifiers[family], LENGTH, made[key], {"bits": bits})
        return made[key]

    return make


def batch(model: PreTrainedModel, lengths: list[int]) -> tuple[Ints, Ints]:
    """Random texts of these lengths, padded to the longest; each ends in the last token."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(5, VOCABULARY, length).astype(np.int32) for length in lengths]
    for text in texts:
        text[-1] = VOCABULARY - 1
    return pad(texts, model.config.pad_token_id)


def logits_of(model: PreTrainedModel, inputs: tuple[Ints, Ints]) -> Any:
    with torch.inference_mode():
        return model(*(torch.from_numpy(array) for array in inputs)).logits.numpy()


def relative_error(got: Any, expected: Any) -> float:
    return float(np.sqrt(((got - expected) ** 2).mean()) / expected.std(axis=0).mean())


def test_a_model_without_large_tensors_is_one_file(classifier_folder: Path, tmp_path: Path) -> None:
    """ONNX keeps tensors of under 1 KB in the graph; of such a model there is no second file."""
    torch.manual_seed(0)
    small = SHAPE | {"hidden_size": 16, "embedding_size": 16, "intermediate_size": 8}
    config = AlbertConfig(**small | {"vocab_size": 60, "max_position_embeddings": 16})
    source, folder = tmp_path / "model", tmp_path / "artifact"
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(source)
    load_tokenizer(classifier_folder).save_pretrained(source)
    folder.mkdir()
    runtime_named("onnxruntime").build(source, 16, folder, {"bits": 4})
    assert read_manifest(folder).files == ("model.onnx",)
    assert open_session(folder, threads=1)(*pad([np.arange(5, 12)], 0)).shape == (1, 3)


@pytest.mark.parametrize(("runtime", "bits"), AGREE)
def test_an_artifact_agrees_with_the_model_it_was_made_from(
    runtime: str, bits: int, build: Callable[..., Path], classifiers: dict[str, Path]
) -> None:
    model = load_classifier(classifiers["bert"]).eval()
    inputs = batch(model, list(range(1, LENGTH + 1, 2)))
    got = open_session(build("bert", runtime, bits), threads=1)(*inputs)
    assert got.dtype == np.float32 and got.shape == (32, 3)
    error = relative_error(got, logits_of(model, inputs))
    assert error <= tolerance(runtime, bits)
    assert (error > 1e-5) == (bits < 32)  # It has been rounded at all.


STORED: list[tuple[RuntimeName, int]] = [
    ("openvino", 32), ("openvino", 8), ("onnxruntime", 32), ("onnxruntime", 8), ("onnxruntime", 4),
    ("torch", 32), ("torch", 16),
]  # fmt: skip


def square() -> Iterator[Any]:
    """Yield each family with each way to store it.

    BERT meets them all, every other family meets OpenVINO's fp32 and one more; the rest of the
    square is for `make test-all`.
    """
    for number, family in enumerate(FAMILIES):
        one_more = 1 + number % (len(STORED) - 1)
        for way, (runtime, bits) in enumerate(STORED):
            usual = family == "bert" or way in (0, one_more)
            marks = () if usual else pytest.mark.square
            yield pytest.param(family, runtime, bits, marks=marks)


@pytest.mark.parametrize(("family", "runtime", "bits"), square())
def test_every_family_comes_out_right(
    family: str,
    runtime: str,
    bits: int,
    build: Callable[..., Path],
    classifiers: dict[str, Path],
) -> None:
    """Token types, position offsets, shared layers: one text, padded texts, the longest texts."""
    model = load_classifier(classifiers[family]).eval()
    session = open_session(build(family, runtime, bits), threads=1)
    spread = logits_of(model, batch(model, list(range(2, 40)))).std(axis=0).mean()
    for lengths in ([1], [7], [5, LENGTH, 17, 30], [LENGTH] * 2, list(range(2, 40))):
        inputs = batch(model, lengths)
        difference = session(*inputs) - logits_of(model, inputs)
        error = np.sqrt((difference**2).mean()) / spread
        # Few texts: their error may be far above the average one.
        assert error <= tolerance(runtime, bits) * (1 if len(lengths) > 30 else 3), lengths


@pytest.mark.parametrize(
    ("family", "bits"),
    [*((family, 32) for family in FAMILIES), ("bert", 8), ("bert", 4), ("bert", 2)],
)
def test_a_model_for_one_shape_says_what_the_one_for_any_says(
    family: str, bits: int, build: Callable[..., Path], classifiers: dict[str, Path]
) -> None:
    artifact = build(family, "openvino", bits)
    model = load_classifier(classifiers[family])
    any_shape = open_session(artifact, threads=1)
    for lengths in ([7], [5, LENGTH, 17], [12, 9, 3, 3]):
        inputs = batch(model, lengths)
        padded = pad([i[: n] for i, n in zip(inputs[0].astype(np.int32), lengths, strict=True)],
                     model.config.pad_token_id, 8, LENGTH)  # fmt: skip
        fixed = open_session(artifact, threads=1, shape=padded[0].shape)
        # A padded sum may be rounded elsewhere: in bf16, which has 8 bits, by a step or two.
        atol = 1e-4 if bits == 32 or not has_bf16(torch.device("cpu")) else 2**-8
        np.testing.assert_allclose(fixed(*padded), any_shape(*inputs), atol=atol)


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_bytes_are_those_of_the_bits(
    family: str, build: Callable[..., Path], classifiers: dict[str, Path]
) -> None:
    """ALBERT's layers share their weights: they are stored once at every width."""
    model = load_classifier(classifiers[family])
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = sum(p.numel() for p in model.parameters() if p.dim() == 1)
    for runtime, bits in CASES:
        if runtime == "openvino":  # Its own tests.
            continue
        folder = build(family, runtime, bits)
        expected = {
            32: sum(p.numel() for p in matrices) * 4,
            16: sum(p.numel() for p in matrices) * 2,
            # A scale of 32 bits for a row of 8-bit weights; embeddings have a zero point too.
            8: sum(p.numel() + 4 * p.shape[0] for p in matrices) + 200,
            # 4-bit weights in blocks of 32, each with a scale of 32 bits and a zero point.
            4: sum(p.shape[0] * -(-p.shape[1] // 32) * (16 + 4 + 0.5) for p in matrices),
        }[bits]
        expected += vectors * (2 if bits == 16 else 4)
        weights = read_manifest(folder).files[-1]
        actual = stored_bytes(folder, weights)
        if bits == 4:  # Blocks may be wider than 32: fewer scales, but never less than the weights.
            assert sum(p.numel() for p in matrices) / 2 < actual <= 1.1 * expected
        else:
            assert actual == pytest.approx(expected, rel=0.1), (runtime, bits)


def stored_bytes(folder: Path, weights: str) -> int:
    """Bytes of the tensors in an artifact, without the graph and the file's own padding."""
    if weights.endswith(".safetensors"):
        return sum(t.nbytes for t in load_file(folder / weights).values())
    import onnx

    proto = onnx.load(folder / "model.onnx")
    return sum(onnx.numpy_helper.to_array(t).nbytes for t in proto.graph.initializer)


@pytest.mark.parametrize(("runtime", "bits"), CASES)
def test_only_the_files_that_count_are_left(
    runtime: str, bits: int, build: Callable[..., Path], classifiers: dict[str, Path]
) -> None:
    folder = build("bert", runtime, bits)
    manifest = read_manifest(folder)
    assert (manifest.runtime, manifest.bits) == (runtime, bits)
    assert manifest.precision == ("f32" if bits == 32 else None)
    assert (manifest.size_bytes, manifest.hash) == hash_files(folder, manifest.files)
    model = load_classifier(classifiers["bert"])
    assert manifest.parameters == sum(p.numel() for p in model.parameters())
    described = {"config.json", "lmopt.json"}
    rest = {p.name for p in folder.iterdir()} - set(manifest.files) - described
    assert all("token" in name or name.startswith("vocab") for name in rest), rest
    assert manifest.size_bytes < folder_bytes(folder)


@pytest.mark.parametrize(
    ("runtime", "bits"), [("onnxruntime", 8), ("onnxruntime", 4), ("torch", 16)]
)
def test_the_same_model_gives_the_same_bytes(
    runtime: str,
    bits: Any,
    build: Callable[..., Path],
    classifiers: dict[str, Path],
    tmp_path: Path,
) -> None:
    first = read_manifest(build("albert", runtime, bits))
    runtime_named(runtime).build(classifiers["albert"], LENGTH, tmp_path, {"bits": bits})
    assert read_manifest(tmp_path).hash == first.hash


def test_bf16_weights_are_those_of_torch(build: Callable[..., Path], classifiers: Any) -> None:
    stored = load_file(build("bert", "torch", 16) / "model.safetensors")
    model = load_classifier(classifiers["bert"])
    for name, weight in model.state_dict().items():
        assert stored[name].dtype == torch.bfloat16
        torch.testing.assert_close(stored[name], weight.bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("runtime", "loaded"),
    [("openvino", set()), ("onnxruntime", set()), ("torch", {"torch", "transformers"})],
)
def test_only_torch_s_runtime_loads_torch(
    runtime: str, loaded: set[str], build: Callable[..., Path]
) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom lmopt.runtimes.sessions import open_session\n"
        "open_session(Path(sys.argv[1]), 1)\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    folder = str(build("bert", runtime, 32))
    said = subprocess.check_output([sys.executable, "-c", code, folder], text=True)
    assert said.splitlines()[-1] == str(sorted(loaded))


@pytest.mark.usefixtures("measuring_process")
@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_a_fresh_process_measures_every_runtime(
    runtime: str,
    build: Callable[..., Path],
    classifiers: dict[str, Path],
    texts: list[tuple[str, str, str]],
    tmp_path: Path,
) -> None:
    tokenizer = load_tokenizer(classifiers["bert"])
    tokens = tokenize(tokenizer, [text for text, _, _ in texts[:40]], 32)
    save_tokens(tmp_path / "tokens.npz", {"validation": tokens, "test": tokens})
    artifact = build("bert", runtime, 32)
    fresh = evaluate(artifact, tmp_path / "tokens.npz", ("test",), threads=1)["test"]
    loaded = load_tokens(tmp_path / "tokens.npz")["test"]
    alone = open_session(artifact, 1)(*pad([loaded[i] for i in range(40)], 0))
    np.testing.assert_allclose(fresh, alone, atol=1e-4)
    timed = Timed(artifact, tmp_path / "tokens.npz")
    latency, _ = time_in_turn({"baseline": timed}, threads=1, rounds_b1=6, rounds_b32=3)
    assert [len(latency[b]["baseline"]) for b in ("b1", "b32")] == [6, 3]


def test_bf16_is_computed_in_bf16_where_the_processor_has_it(
    build: Callable[..., Path], classifiers: dict[str, Path]
) -> None:
    model = load_classifier(build("bert", "torch", 16)).eval()
    inputs = batch(model, [9, 12, 30])
    expected = model.bfloat16() if has_bf16(torch.device("cpu")) else model
    got = open_session(build("bert", "torch", 16), 1, "cpu")(*inputs)
    with torch.inference_mode():
        logits = expected(*(torch.from_numpy(array) for array in inputs)).logits.float().numpy()
    np.testing.assert_array_equal(got, logits)


def test_a_missing_gpu_is_named(build: Callable[..., Path]) -> None:
    if torch.cuda.is_available():
        open_session(build("bert", "torch", 32), 1, "cuda")
        return
    with pytest.raises(ValueError, match="device 'cuda' asked for, but torch sees no GPU here"):
        open_session(build("bert", "torch", 32), 1, "cuda")
    with pytest.raises(ValueError, match="device cuda needs name torch, got onnxruntime"):
        RuntimeConfig(name="onnxruntime", device="cuda")


@pytest.mark.parametrize(
    ("runtime", "fields", "said"),
    [
        ("onnxruntime", {"bits": 3}, "bits must be 32, 16, 8 or 4 with runtime.name onnxruntime"),
        ("torch", {"bits": 8}, "got 8: change bits or take runtime.name openvino or onnxruntime"),
        (
            "torch",
            {"clusters": 16},
            "clusters must be null with runtime.name torch, got 16",
        ),
        ("onnxruntime", {"bits": 4, "number_format": "nf4"}, "number_format must be int with"),
        ("onnxruntime", {"bits": 8, "activation_bits": 8}, "activation_bits must be null with"),
        ("onnxruntime", {"bits": 4, "finetune_epochs": 1}, "finetune_epochs must be 0 with"),
    ],
)
def test_what_a_runtime_cannot_do_is_said(runtime: str, fields: dict[str, Any], said: str) -> None:
    reason = refusal(runtime, Recipe(**fields))
    assert reason is not None and said in reason and "\n" not in reason
    assert refusal("openvino", Recipe(**fields)) is None


def test_what_a_runtime_can_do_is_not_refused() -> None:
    for runtime, bits in CASES:
        assert refusal(runtime, Recipe(bits=bits, layers=2, sparsity=0.5, epochs=1)) is None  # type: ignore[arg-type]
    # It would matter with fewer bits, which a search may choose; in a canonical recipe it is gone.
    idle = Recipe(bits=16, finetune_epochs=1)
    assert refusal("torch", idle) is not None and refusal("torch", idle.canonical()) is None


def test_stages_depend_on_the_versions_of_what_runs() -> None:
    for runtime in RUNTIMES:
        assert runtime_versions(runtime.name) == {name: version(name) for name in runtime.packages}
        assert runtime.packages[0] == runtime.name
