from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lmopt.compression.stored_training import finetune_stored, quantized
from lmopt.data.batches import Examples
from lmopt.data.tokens import Tokens, pad, tokenize
from lmopt.models.loading import load_classifier, load_tokenizer
from lmopt.runtimes.openvino.artifact import build_artifact
from lmopt.runtimes.sessions import open_session
from lmopt.training.trainer import TrainingSettings, predict_logits
from lmopt.weights.plan import plan_storage
from lmopt.weights.rounding import Format, fake_quantize


def test_forward_passes_see_stored_weights_and_training_moves_those_underneath() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20, 64), nn.Linear(64, 8))
    table, weight = model[0].weight.detach().clone(), model[1].weight.detach().clone()  # type: ignore[operator]
    stored = Format(2, "int", 64)
    ids = torch.arange(20)
    with quantized(model, {"0.weight": stored, "1.weight": stored}):
        expected = fake_quantize(table, stored) @ fake_quantize(weight, stored).T + model[1].bias
        torch.testing.assert_close(model(ids), expected)
        model(ids).square().sum().backward()
        torch.optim.SGD(model.parameters(), lr=1e-3).step()
    assert isinstance(model[1], nn.Linear)
    assert 0 < (model[1].weight - weight).abs().max() < 0.1
    assert len(model[1].weight.unique()) > 100  # Not the rounded ones.
    assert set(model.state_dict()) == {"0.weight", "1.weight", "1.bias"}


@pytest.fixture(scope="module")
def task(
    classifier_folder: Path, texts: list[tuple[str, str, str]]
) -> tuple[Tokens, np.ndarray[Any, Any]]:
    names = sorted({topic for _, topic, _ in texts})
    labels = np.array([names.index(topic) for _, topic, _ in texts])
    return tokenize(load_tokenizer(classifier_folder), [t for t, _, _ in texts], 32), labels


def tuned(
    start: Path, task: Any, storage: dict[str, Any], epochs: float, folder: Path
) -> tuple[Path, float, np.ndarray[Any, Any]]:
    """Train with stored weights, make the artifact: model, its cross-entropy and its logits."""
    tokens, labels = task
    settings = TrainingSettings(epochs=epochs, learning_rate=3e-3, batch_size=16)
    for part in ("model", "artifact"):
        (folder / part).mkdir(parents=True)
    finetune_stored(
        start,
        Examples(tokens, labels),
        settings,
        storage=storage,
        temperature=1.0,
        alpha=0.0,
        folder=folder / "model",
        scratch=folder / "scratch",
    )
    build_artifact(folder / "model", 32, folder / "artifact", **storage)
    batch = pad([tokens[i] for i in range(len(labels))], 0)
    logits = open_session(folder / "artifact", 1)(*batch)
    loss = cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    return folder / "model", float(loss), logits


@pytest.fixture(scope="module")
def trained(classifier_folder: Path, task: Any, tmp_path_factory: Any) -> Path:
    folder, loss, _ = tuned(
        classifier_folder, task, {"bits": 32}, 8, tmp_path_factory.mktemp("trained")
    )
    assert loss < 0.1
    return folder


@pytest.mark.parametrize("storage", [{"bits": 2}, {"bits": 32, "clusters": 2}], ids=str)
def test_training_with_stored_weights_recovers_what_rounding_breaks(
    storage: dict[str, Any], trained: Path, task: Any, tmp_path: Path
) -> None:
    """And the trained model and its artifact agree."""
    _, broken, _ = tuned(trained, task, storage, 0, tmp_path / "broken")
    folder, recovered, got = tuned(trained, task, storage, 6, tmp_path / "recovered")
    assert recovered < 0.5 * broken
    model = load_classifier(folder)
    with quantized(model, plan_storage(model, **storage)):
        expected = predict_logits(model, task[0], device="cpu")
    assert (got.argmax(1) == expected.argmax(1)).mean() > 0.98
    assert np.abs(got - expected).mean() < 0.05 * expected.std()
