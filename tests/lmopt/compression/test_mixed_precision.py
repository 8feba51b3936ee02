from pathlib import Path

import numpy as np
import pytest
import torch

from lmopt.compression.mixed_precision import (
    divergences,
    find_sensitive,
    most_sensitive,
    read_sensitive,
)
from lmopt.data.tokens import pad
from lmopt.models.loading import load_classifier
from lmopt.weights.plan import matrices, plan_storage
from lmopt.weights.rounding import Format


def batches() -> list[tuple[np.ndarray, np.ndarray]]:  # type: ignore[type-arg]
    rng = np.random.default_rng(0)
    return [pad([rng.integers(5, 40, 12).astype(np.int32)], 0) for _ in range(6)]


def test_the_matrix_that_matters_diverges_most(classifier_folder: Path) -> None:
    model = load_classifier(classifier_folder)
    with torch.no_grad():
        for name, module in matrices(model).items():
            if "layer.2.intermediate" in name:
                module.weight.zero_()  # Rounding zeros changes nothing.
        model.classifier.weight.mul_(50)
    before = {name: module.weight.clone() for name, module in matrices(model).items()}
    found = divergences(model, plan_storage(model, bits=2), batches())
    quiet = next(name for name in found if "layer.2.intermediate" in name)
    assert found[quiet] == pytest.approx(0, abs=1e-6)
    assert found["classifier.weight"] > 10 * np.median(list(found.values()))
    for name, module in matrices(model).items():
        torch.testing.assert_close(module.weight, before[name], rtol=0, atol=0)


def test_the_share_is_a_limit_and_the_worst_for_their_size_come_first() -> None:
    divergence = {"a": 4.0, "b": 1.0, "c": 9.0}
    sizes = {"a": 10, "b": 10, "c": 80, "untouched": 1000}
    assert most_sensitive(divergence, sizes, 0.1) == ["a"]
    assert most_sensitive(divergence, sizes, 0.25) == ["a", "b"]
    assert most_sensitive(divergence, sizes, 0.95) == ["a", "c"]
    assert most_sensitive(divergence, sizes, 0.05) == []


def test_the_plan_keeps_them_at_8_bits(classifier_folder: Path, tmp_path: Path) -> None:
    find_sensitive(classifier_folder, {"bits": 2}, 0.3, batches(), tmp_path)
    kept = read_sensitive(tmp_path)
    model = load_classifier(classifier_folder)
    plan = plan_storage(model, bits=2, sensitive=kept)
    assert {name for name, stored in plan.items() if stored == Format(8)} == set(kept)
    weights = {name: module.weight.numel() for name, module in matrices(model).items()}
    assert 0 < sum(weights[name] for name in kept) <= 0.3 * sum(weights.values())
