from pathlib import Path

import numpy as np
import pytest
import torch

from lmopt.data import tokenize
from lmopt.examples import Examples
from lmopt.models import encoder_layers, load_classifier, load_tokenizer
from lmopt.prune import magnitude_mask, measured_sparsity, prunable_weights, prune, prune_magnitude
from lmopt.training import TrainingSettings


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


def test_embeddings_pooler_and_head_stay_dense(classifier_folder: Path) -> None:
    model = load_classifier(classifier_folder)
    before = {name: p.clone() for name, p in model.named_parameters()}
    prune_magnitude(model, 0.6)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    matrices = {n for n, p in model.named_parameters() if ".layer." in n and p.dim() == 2}
    assert changed == matrices
    assert len(prunable_weights(model)) == len(matrices) == 6 * len(encoder_layers(model))
    for weight in prunable_weights(model):
        assert float((weight == 0).float().mean()) == pytest.approx(0.6, abs=1e-3)


def test_the_mask_holds_through_recovery(
    classifier_folder: Path, texts: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    tokens = tokenize(load_tokenizer(classifier_folder), [text for text, _, _ in texts[:64]], 32)
    logits = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    examples = Examples(tokens, np.arange(64) % 3, logits)
    for epochs in (0.0, 1.0):
        prune(
            classifier_folder,
            examples,
            TrainingSettings(epochs=epochs, learning_rate=1e-3, batch_size=16, device="cpu"),
            sparsity=0.8,
            temperature=2.0,
            alpha=0.5,
            folder=tmp_path / str(epochs),
            scratch=tmp_path / "scratch",
        )
    cold, recovered = (load_classifier(tmp_path / name) for name in ("0.0", "1.0"))
    pairs = zip(prunable_weights(cold), prunable_weights(recovered), strict=True)
    for before, after in pairs:
        assert torch.equal(before == 0, after == 0)
        assert not torch.equal(before, after)
    parameters = sum(p.numel() for p in cold.parameters())
    zeros = sum(round(0.8 * w.numel()) for w in prunable_weights(cold))
    others = measured_sparsity(load_classifier(classifier_folder)) * parameters  # Biases, padding.
    assert measured_sparsity(cold) == pytest.approx((zeros + others) / parameters, rel=1e-6)
