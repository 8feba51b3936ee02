import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmopt.compression import sparsity as pruning
from lmopt.compression.sparsity import (
    global_masks,
    input_norms,
    magnitude_mask,
    prune,
    set_masks,
    wanda_mask,
)
from lmopt.data.batches import Examples
from lmopt.data.tokens import Tokens, tokenize
from lmopt.models.families.registry import encoder_layers
from lmopt.models.loading import load_classifier, load_tokenizer
from lmopt.models.zeros import measured_sparsity, prunable_matrices
from lmopt.runtimes.manifest import transfer_bytes
from lmopt.training import trainer as training
from lmopt.training.trainer import TrainingSettings
from tests.lmopt.small_families import tiny

SETTINGS = TrainingSettings(epochs=1, learning_rate=1e-3, batch_size=16, device="cpu")


@pytest.fixture(scope="module")
def examples(classifier_folder: Path, texts: list[tuple[str, str, str]]) -> Examples:
    tokens = tokenize(load_tokenizer(classifier_folder), [text for text, _, _ in texts[:64]], 32)
    logits = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    return Examples(tokens, np.arange(64) % 3, logits)


def run(model: Path, examples: Examples, folder: Path, **changes: Any) -> Any:
    """Prune into a folder of that name, and load what came out."""
    options: dict[str, Any] = {
        "settings": SETTINGS,
        "sparsity": 0.8,
        "temperature": 2.0,
        "alpha": 0.5,
        "folder": folder,
        "scratch": folder.with_name(f"{folder.name}.scratch"),
    }
    prune(model, examples, **options | changes)
    return load_classifier(folder)


def zeros(model: Any) -> list[torch.Tensor]:
    """Where each prunable matrix is zero."""
    return [matrix.weight == 0 for matrix in prunable_matrices(model)]


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.95])
def test_the_smallest_weights_go_and_exactly_so_many(sparsity: float) -> None:
    weight = torch.randn(37, 23, generator=torch.Generator().manual_seed(0))
    mask = magnitude_mask(weight, sparsity)
    removed = round(sparsity * weight.numel())
    assert int((~mask).sum()) == removed
    order = np.sort(weight.abs().numpy().ravel())
    np.testing.assert_array_equal(np.sort(weight[~mask].abs().numpy()), order[:removed])


def test_equal_weights_are_pruned_to_the_share_too() -> None:
    assert int(magnitude_mask(torch.ones(10, 10), 0.5).sum()) == 50


def test_one_threshold_for_all_matrices() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(8, 16, generator=generator) * scale for scale in (1.0, 3.0, 0.2)]
    masks = global_masks(weights, 0.5)
    together = np.sort(np.concatenate([w.abs().numpy().ravel() for w in weights]))
    for weight, mask in zip(weights, masks, strict=True):
        np.testing.assert_array_equal(mask.numpy(), weight.abs().numpy() > together[191])
    assert masks[2].sum() < masks[0].sum() < masks[1].sum()


def test_wanda_compares_within_a_row() -> None:
    """Equation 1 of Sun et al., written out: a weight goes by |weight| x norm of its input."""
    rng = np.random.default_rng(0)
    weight, norm = rng.normal(size=(6, 10)), rng.uniform(0.1, 5, 10)
    mask = wanda_mask(torch.tensor(weight), torch.tensor(norm), 0.4).numpy()
    for row, kept in zip(weight, mask, strict=True):
        gone = sorted(range(10), key=lambda j: abs(row[j]) * norm[j])[:4]
        assert sorted(np.flatnonzero(~kept)) == sorted(gone)
    assert (mask != magnitude_mask(torch.tensor(weight), 0.4).numpy()).any()


@pytest.mark.parametrize("family", ["bert", "albert", "deberta-v2"])
def test_input_norms_are_of_the_tokens_without_padding(family: str) -> None:
    """Against each text alone, unpadded."""
    model = tiny(family)
    matrices = prunable_matrices(model)
    lengths = np.array([5, 12, 9])
    ids = np.random.default_rng(0).integers(2, 50, lengths.sum()).astype(np.int32)
    examples = Examples(Tokens(ids, np.cumsum([0, *lengths])), np.arange(3))
    norms = input_norms(model, matrices, examples, SETTINGS)
    squares = {id(matrix): torch.zeros(matrix.in_features) for matrix in matrices}
    rows = 0

    def add(matrix: Any, inputs: Any) -> None:
        nonlocal rows
        squares[id(matrix)] += inputs[0].reshape(-1, matrix.in_features).square().sum(0)
        rows += 1

    handles = [matrix.register_forward_pre_hook(add) for matrix in matrices]
    with torch.no_grad():
        for i in range(3):
            model(torch.from_numpy(examples.tokens[i].astype(np.int64))[None])
    for handle in handles:
        handle.remove()
    assert rows >= 3 * len(matrices)
    for matrix, norm in zip(matrices, norms, strict=True):
        if "pos_" not in name_of(model, matrix):  # Relative positions: once a batch.
            torch.testing.assert_close(norm.square(), squares[id(matrix)], rtol=1e-3, atol=1e-3)


def name_of(model: Any, module: Any) -> str:
    """The module's name in the model."""
    return next(name for name, each in model.named_modules() if each is module)


@pytest.mark.parametrize("criterion", ["magnitude", "global_magnitude"])
def test_embeddings_pooler_and_head_stay_dense(classifier_folder: Path, criterion: Any) -> None:
    model = load_classifier(classifier_folder)
    before = {name: p.clone() for name, p in model.named_parameters()}
    set_masks(prunable_matrices(model), 0.6, criterion)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    matrices = {n for n, p in model.named_parameters() if ".layer." in n and p.dim() == 2}
    assert changed == matrices
    assert len(prunable_matrices(model)) == len(matrices) == 6 * len(encoder_layers(model))
    masks = torch.cat([mask.flatten() for mask in zeros(model)])
    assert float(masks.float().mean()) == pytest.approx(0.6, abs=1e-3)


def test_layers_that_share_their_weights_are_pruned_once() -> None:
    assert len(prunable_matrices(tiny("albert"))) == 6


@pytest.mark.parametrize("schedule", ["one_shot", "cubic"])
@pytest.mark.parametrize("criterion", ["magnitude", "global_magnitude", "wanda"])
def test_the_sparsity_is_exact_and_only_weights_are_saved(
    schedule: Any, criterion: Any, classifier_folder: Path, examples: Examples, tmp_path: Path
) -> None:
    dense = load_classifier(classifier_folder)
    model = run(classifier_folder, examples, tmp_path / "a", criterion=criterion, schedule=schedule)
    found = sum(int(mask.sum()) for mask in zeros(model))
    total = sum(mask.numel() for mask in zeros(model))
    assert found / total == pytest.approx(0.8, abs=0.01)
    assert set(model.state_dict()) == set(dense.state_dict())
    if criterion == "wanda":
        for mask in zeros(model):
            assert (mask.sum(1) == round(0.8 * mask.shape[1])).all()


def test_the_mask_holds_through_recovery(
    classifier_folder: Path, examples: Examples, tmp_path: Path
) -> None:
    cold = run(
        classifier_folder,
        examples,
        tmp_path / "cold",
        settings=TrainingSettings(epochs=0, learning_rate=1e-3, batch_size=16, device="cpu"),
    )
    recovered = run(classifier_folder, examples, tmp_path / "recovered")
    pairs = zip(prunable_matrices(cold), prunable_matrices(recovered), strict=True)
    for before, after in pairs:
        assert torch.equal(before.weight == 0, after.weight == 0)
        assert not torch.equal(before.weight, after.weight)
    parameters = sum(p.numel() for p in cold.parameters())
    zeros = sum(round(0.8 * m.weight.numel()) for m in prunable_matrices(cold))
    others = measured_sparsity(load_classifier(classifier_folder)) * parameters  # Biases, padding.
    assert measured_sparsity(cold) == pytest.approx((zeros + others) / parameters, rel=1e-6)


def test_the_schedule_prunes_more_and_more_then_holds(
    classifier_folder: Path, examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 steps: the sparsity rises along the cubic over two thirds of them."""
    seen: list[float] = []

    def hold(matrices: Any) -> None:
        kept = torch.cat([matrix.weight_mask.flatten() for matrix in matrices])
        seen.append(1 - float(kept.float().mean()))

    monkeypatch.setattr(pruning, "hold_masks", hold)
    settings = TrainingSettings(epochs=3, learning_rate=1e-3, batch_size=16, device="cpu")
    run(classifier_folder, examples, tmp_path / "a", settings=settings, schedule="cubic")
    assert seen[0] == 0
    rising = sorted({round(share, 3) for share in seen})
    expected = [0.0, *(0.8 * (1 - (1 - step / 8) ** 3) for step in range(1, 9))]
    assert rising == pytest.approx(expected, abs=2e-3)
    assert seen == sorted(seen)
    assert seen[-5:] == [seen[-1]] * 5


def test_an_interrupted_run_comes_to_the_same_model(
    classifier_folder: Path, examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at the third of four steps, on the way up: the mask is the checkpoint's."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    options: dict[str, Any] = {"schedule": "cubic", "criterion": "wanda"}
    whole = run(classifier_folder, examples, tmp_path / "whole", **options)
    hold, calls = pruning.hold_masks, 0

    def stop(matrices: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        hold(matrices)

    monkeypatch.setattr(pruning, "hold_masks", stop)
    with pytest.raises(KeyboardInterrupt):
        run(classifier_folder, examples, tmp_path / "stopped", **options)
    assert list((tmp_path / "stopped.scratch").glob("checkpoint-*/complete"))
    monkeypatch.setattr(pruning, "hold_masks", hold)
    resumed = run(classifier_folder, examples, tmp_path / "stopped", **options)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(zeros(resumed), zeros(whole), strict=True))


def test_zeros_are_cheap_to_send(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=1_000_000).astype(np.float32)
    sizes = []
    for sparsity in (0.0, 0.9):
        values[: int(sparsity * len(values))] = 0
        (tmp_path / "a").write_bytes(np.random.default_rng(1).permutation(values).tobytes())
        sizes.append(transfer_bytes(tmp_path / "a"))
        assert sizes[-1] == pytest.approx(len(gzip.compress((tmp_path / "a").read_bytes(), 6)))
    assert sizes[1] < 0.25 * sizes[0]
