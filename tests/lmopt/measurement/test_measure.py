import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmopt.data.tokens import Tokens, load_tokens, pad, save_tokens, tokenize
from lmopt.measurement import timing as measure
from lmopt.measurement.measure import Timed, evaluate, time_in_turn
from lmopt.measurement.timing import Served, latency_samples, noise
from lmopt.models.loading import load_tokenizer
from lmopt.runtimes.openvino.artifact import build_artifact
from lmopt.runtimes.sessions import open_session


@pytest.fixture(scope="module")
def artifact(classifier_folder: Path, tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("artifact")
    build_artifact(classifier_folder, 32, folder, bits=8)
    return folder


@pytest.fixture(scope="module")
def tokens_file(
    classifier_folder: Path, texts: list[tuple[str, str, str]], tmp_path_factory: Any
) -> Path:
    tokenizer = load_tokenizer(classifier_folder)
    parts = {"train": texts[:10], "validation": texts[10:75], "test": texts[75:200]}
    tokens = {n: tokenize(tokenizer, [t for t, _, _ in rows], 32) for n, rows in parts.items()}
    path: Path = tmp_path_factory.mktemp("tokens") / "tokens.npz"
    save_tokens(path, tokens)
    return path


def test_the_measuring_process_loads_no_torch() -> None:
    loaded = "{'torch', 'transformers'} & set(sys.modules)"
    code = f"import lmopt.measurement.__main__, openvino, sys; print({loaded})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_logits_of_a_fresh_process_are_those_of_the_artifact(
    artifact: Path, tokens_file: Path
) -> None:
    fresh = evaluate(artifact, tokens_file, ("validation", "test"), threads=1)
    session = open_session(artifact, threads=1)
    for name, size in (("validation", 65), ("test", 125)):
        tokens = load_tokens(tokens_file)[name]
        alone = np.concatenate([session(*pad([tokens[i]], 0)) for i in range(size)])
        assert fresh[name].shape == (size, 3)
        np.testing.assert_allclose(fresh[name], alone, atol=0.02)  # Dynamic int8, bf16.


def test_latency_comes_raw_and_paired(artifact: Path, tokens_file: Path) -> None:
    seen: list[str] = []
    timed = Timed(artifact, tokens_file)
    latency, noisy = time_in_turn(
        {"baseline": timed, "baseline16": timed, "trial": timed},
        threads=1,
        rounds_b1=9,
        rounds_b32=6,
        progress=lambda stage, fraction: seen.append(stage),
    )
    assert {b: {n: len(s) for n, s in names.items()} for b, names in latency.items()} == {
        "b1": {"baseline": 9, "baseline16": 9, "trial": 9},
        "b32": {"baseline": 6, "baseline16": 6, "trial": 6},
    }
    assert isinstance(noisy, bool)
    assert all(sample > 0 for names in latency.values() for s in names.values() for sample in s)
    assert set(seen) <= {"latency"}


def test_everything_is_timed_in_turn_after_a_warm_up() -> None:
    calls: list[str] = []
    names = ("baseline", "trial")
    by_name = {n: [lambda n=n, i=i: calls.append(f"{n}{i}") for i in range(2)] for n in names}
    samples = latency_samples(by_name, passes=3)
    assert calls == ["baseline0", "trial0", "baseline1", "trial1"] * 4  # One pass warms up.
    assert {name: array.shape for name, array in samples.items()} == dict.fromkeys(names, (3, 2))


def test_noise_is_the_spread_of_equal_inputs_not_of_lengths() -> None:
    assert noise(np.array([[1.0, 5.0, 9.0], [1.0, 5.0, 9.0]])) == 0
    lengths = np.array([1.0, 5.0, 9.0])
    assert noise(np.stack([lengths, 2 * lengths, 3 * lengths])) == pytest.approx(1.0)
    # Neither one disturbed pass nor one disturbed input rejects the measurement.
    assert noise(np.stack([lengths, lengths, 7 * lengths])) == 0
    assert noise(np.stack([lengths, lengths * [1, 1, 5], lengths * [1, 1, 5]])) == 0


@pytest.mark.parametrize("multiple", [0, 8])
def test_a_model_is_timed_at_the_shapes_it_is_served_with(
    multiple: int, artifact: Path, tokens_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    called: dict[Any, list[tuple[int, int]]] = {}

    def open_spy(artifact: Path, threads: int, device: str, shape: Any) -> Any:
        opened.append(shape)
        session = open_session(artifact, threads, device, shape)

        def run(ids: Any, mask: Any) -> Any:
            called.setdefault(shape, []).append(ids.shape)
            return session(ids, mask)

        return run

    monkeypatch.setattr(measure, "open_session", open_spy)
    tokens = load_tokens(tokens_file)["validation"]
    for batch in (1, 32):
        opened.clear(), called.clear()
        served = {"baseline": Served(artifact, tokens, 1, pad_to_multiple_of=multiple)}
        samples, _ = measure._time_batches(served, batch, 15)
        assert len(samples["baseline"]) == 15 and samples["baseline"].min() > 0
        shapes = {shape for own in called.values() for shape in own}
        assert all(rows == batch for rows, _ in shapes)
        if multiple == 0:
            assert set(opened) == {None}
            continue
        assert all(length % 8 == 0 and length <= 32 for _, length in shapes)
        assert set(opened) == shapes and all(set(own) == {s} for s, own in called.items())


def test_a_length_is_rounded_up_within_the_limit() -> None:
    ids = [np.arange(length, dtype=np.int32) for length in (3, 9)]
    for multiple, limit, length in (
        (0, None, 9),
        (8, None, 16),
        (8, 64, 16),
        (8, 12, 12),
        (8, 4, 9),
        (9, 64, 9),
    ):
        inputs, mask = pad(ids, 5, multiple, limit)
        assert inputs.shape == mask.shape == (2, length)
        assert mask.sum(axis=1).tolist() == [3, 9] and (inputs[mask == 0] == 5).all()


def test_a_noisy_reference_is_repeated_then_flagged(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spreads = iter([3.0, 2.0, 2.5])

    def samples(calls: Any, passes: int) -> Any:
        reference = np.array([[1.0], [next(spreads)], [4.0]])
        return dict.fromkeys(calls, reference)

    monkeypatch.setattr(measure, "latency_samples", samples)
    tokens = Tokens(np.arange(8, dtype=np.int32), np.array([0, 4, 8]))
    flat, noisy = measure._time_batches({"baseline": Served(artifact, tokens, threads=1)}, 1, 3)
    assert noisy
    assert flat["baseline"].tolist() == [1.0, 2.0, 4.0]  # The least noisy of the three attempts.
    assert next(spreads, None) is None


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_measurements_at_one_time_have_cores_of_their_own() -> None:
    """Also where the cluster lets each job use every core of its node, and its holder is killed."""
    first_two = sorted(os.sched_getaffinity(0))[:2]
    code = (
        "import os, time\nfrom lmopt.measurement import process\n"
        f"process.CORE_NAME = 'lmopt-test-{os.getpid()}'\n"  # other measurements hold none of these
        f"os.sched_setaffinity(0, {first_two})\ncores = process.pin(1)\n"
        "print(*os.sched_getaffinity(0), flush=True)\ntime.sleep(600)\n"
    )
    command = [sys.executable, "-c", code]
    found, processes = [], []
    try:
        for _ in range(2):
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            assert processes[-1].stdout is not None
            found.append(int(processes[-1].stdout.readline()))
        assert sorted(found) == first_two
        processes[0].kill()
        processes[0].wait()
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout is not None
        assert int(processes[-1].stdout.readline()) == found[0]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_failed_process_says_why(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"measuring failed .*nothing\.npz"):
        evaluate(artifact, tmp_path / "nothing.npz", ["test"], threads=1)
