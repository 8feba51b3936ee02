import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainingArguments

from lmopt.data.batches import Examples, LengthSampler, subset
from lmopt.data.tokens import Tokens, tokenize
from lmopt.models.embeddings import factorize_embeddings
from lmopt.models.loading import load_classifier, load_tokenizer
from lmopt.training import trainer as training
from lmopt.training.losses import distillation_loss
from lmopt.training.trainer import (
    COMPLETE,
    DivergedError,
    TrainingSettings,
    newest_checkpoint,
    predict_logits,
    train_classifier,
    use_one_gpu,
)

HARD = distillation_loss(temperature=1.0, alpha=0.0)
SETTINGS = TrainingSettings(epochs=2, learning_rate=1e-3, batch_size=16, device="cpu")


@pytest.fixture(scope="module")
def examples(classifier_folder: Path, texts: list[tuple[str, str, str]]) -> Examples:
    topics = sorted({topic for _, topic, _ in texts})
    tokens = tokenize(load_tokenizer(classifier_folder), [text for text, _, _ in texts], 32)
    return Examples(tokens, np.asarray([topics.index(topic) for _, topic, _ in texts]))


def weights(model: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def train(folder: Path, examples: Examples, scratch: Path, **changes: Any) -> Any:
    model = load_classifier(folder)
    settings = replace(SETTINGS, **changes)
    train_classifier(model, examples, HARD, settings, scratch=scratch, stage="distill")
    return model


def test_it_learns_and_is_reproducible_by_seed(
    classifier_folder: Path, examples: Examples, tmp_path: Path
) -> None:
    first = train(classifier_folder, examples, tmp_path, epochs=4)
    again = train(classifier_folder, examples, tmp_path, epochs=4)
    other = train(classifier_folder, examples, tmp_path, epochs=4, seed=1)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))
    logits = predict_logits(first, examples.tokens, device="cpu")
    assert (logits.argmax(1) == examples.labels).mean() > 0.9


def test_several_gpus_do_not_multiply_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    arguments = TrainingArguments(output_dir=str(tmp_path), per_device_train_batch_size=16)
    assert arguments.train_batch_size == 32
    use_one_gpu(arguments)
    assert arguments.train_batch_size == 16


def test_logits_come_in_the_order_of_the_texts(classifier_folder: Path, examples: Examples) -> None:
    model = load_classifier(classifier_folder)
    few = Tokens(examples.tokens.ids, examples.tokens.offsets[:9])
    together = predict_logits(model, few, device="cpu", batch_size=3)
    for i in range(8):
        alone = model(torch.from_numpy(few[i].astype(np.int64))[None]).logits
        np.testing.assert_allclose(together[i], alone[0].detach().numpy(), atol=0.02)


def test_frozen_embeddings_and_dropout(
    classifier_folder: Path, examples: Examples, tmp_path: Path
) -> None:
    before = load_classifier(classifier_folder).get_input_embeddings().weight
    frozen = train(classifier_folder, examples, tmp_path, freeze_embeddings=True, dropout=0.0)
    assert torch.equal(frozen.get_input_embeddings().weight, before)
    free = train(classifier_folder, examples, tmp_path, epochs=1)
    assert not torch.equal(free.get_input_embeddings().weight, before)
    model = load_classifier(classifier_folder)
    factorize_embeddings(model, 8)
    model.save_pretrained(tmp_path / "factorised")
    frozen = train(tmp_path / "factorised", examples, tmp_path, freeze_embeddings=True, epochs=1)
    for after, before in zip(
        frozen.get_input_embeddings().parameters(),
        model.get_input_embeddings().parameters(),
        strict=True,
    ):
        assert torch.equal(after, before)


def test_a_loss_that_is_not_finite_stops_at_once(
    classifier_folder: Path, examples: Examples, tmp_path: Path
) -> None:
    steps = 0

    def loss(logits: torch.Tensor, labels: torch.Tensor, _: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return HARD(logits, labels, None) * (float("nan") if steps == 3 else 1.0)

    model = load_classifier(classifier_folder)
    with pytest.raises(DivergedError, match=r"loss is nan at step 2: lower learning_rate"):
        train_classifier(model, examples, loss, SETTINGS, scratch=tmp_path, stage="distill")
    assert steps == 3


def test_progress_is_reported_each_second(
    classifier_folder: Path, examples: Examples, tmp_path: Path
) -> None:
    seen: list[tuple[str, float | None]] = []
    train_classifier(
        load_classifier(classifier_folder),
        examples,
        HARD,
        replace(SETTINGS, epochs=1),
        scratch=tmp_path,
        stage="distill",
        progress=lambda stage, fraction: seen.append((stage, fraction)),
        after_step=lambda: time.sleep(0.15),
    )
    fractions = [fraction for _, fraction in seen if fraction is not None]
    assert {stage for stage, _ in seen} == {"distill"}
    assert len(fractions) >= 3
    assert fractions == sorted(fractions)
    assert fractions[-1] <= 1


KILLED = """
import os, sys, pickle, signal
from pathlib import Path
from lmopt.environment import configure_libraries
configure_libraries(1)
from lmopt.models.loading import load_classifier
from lmopt.training import trainer as training
from lmopt.training.losses import distillation_loss
folder, scratch, pickled = map(Path, sys.argv[1:])
examples, settings = pickle.loads(pickled.read_bytes())
training.CHECKPOINT_SECONDS = 0.0
steps = 0
def die():
    global steps
    steps += 1
    if steps == 31:
        os.kill(os.getpid(), signal.SIGKILL)
loss = distillation_loss(1.0, 0.0)
training.train_classifier(load_classifier(folder), examples, loss, settings, scratch=scratch,
                          stage="distill", after_step=die)
"""


def test_a_killed_training_continues_to_the_same_end(
    classifier_folder: Path, examples: Examples, tmp_path: Path
) -> None:
    """46 steps in two epochs, killed at the 31st: the rest runs, and the weights are the same."""
    pickled = tmp_path / "examples.pickle"
    pickled.write_bytes(pickle.dumps((examples, SETTINGS)))
    scratch = tmp_path / "scratch"
    command = [sys.executable, "-c", KILLED, str(classifier_folder), str(scratch), str(pickled)]
    killed = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    newest = newest_checkpoint(scratch)
    assert newest is not None
    assert newest.name == "checkpoint-30"
    (scratch / "checkpoint-31").mkdir()  # Torn: it has no marker.
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    model = load_classifier(classifier_folder)
    train_classifier(
        model, examples, HARD, SETTINGS, scratch=scratch, stage="distill", after_step=count
    )
    assert steps == 46 - 30
    whole = train(classifier_folder, examples, tmp_path / "whole")
    torch.testing.assert_close(weights(model), weights(whole), rtol=0, atol=1e-6)


def test_checkpoints_are_marked_after_they_are_whole(
    classifier_folder: Path, examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    train(classifier_folder, examples, tmp_path, epochs=0.2)
    marked = sorted(path.parent.name for path in tmp_path.glob(f"*/{COMPLETE}"))
    assert marked == ["checkpoint-4", "checkpoint-5"]  # The newest two; older ones are removed.


def test_the_order_of_examples_depends_on_seed_and_epoch_alone() -> None:
    lengths = np.random.default_rng(0).integers(3, 64, 500).tolist()
    orders = {}
    for seed, epoch in [(0, 0), (0, 1), (1, 0)]:
        sampler = LengthSampler(lengths, 16, seed)
        sampler.set_epoch(epoch)
        orders[seed, epoch] = list(sampler)
        assert list(sampler) == orders[seed, epoch]
        assert sorted(orders[seed, epoch]) == list(range(500))
    assert orders[0, 0] != orders[0, 1] != orders[1, 0]


def test_a_smaller_limit_is_a_subset() -> None:
    small, large = set(subset(100, 10, 0).tolist()), set(subset(100, 50, 0).tolist())
    assert len(small) == 10
    assert small < large
    assert subset(100, None, 0).tolist() == list(range(100))
    assert small != set(subset(100, 10, 1).tolist())
