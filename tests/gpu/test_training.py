"""Training on a GPU: in bf16 where it can, on one GPU only, back on the CPU at its end."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmopt.data.batches import Examples
from lmopt.models.loading import load_classifier
from lmopt.training.losses import distillation_loss
from lmopt.training.trainer import TrainingSettings, predict_logits, train_classifier

HARD = distillation_loss(temperature=1.0, alpha=0.0)
SETTINGS = TrainingSettings(epochs=4, learning_rate=1e-3, batch_size=16, device="cuda")

pytestmark = pytest.mark.gpu


def test_training_is_in_bf16_and_the_model_comes_back_whole(
    classifier_folder: Path, examples: Examples, tmp_path: Path
) -> None:
    model = load_classifier(classifier_folder)
    seen: set[tuple[str, torch.dtype]] = set()
    layer = model.bert.encoder.layer[0].intermediate.dense
    layer.register_forward_hook(lambda _, __, out: seen.add((out.device.type, out.dtype)))
    train_classifier(model, examples, HARD, SETTINGS, scratch=tmp_path, stage="distill")
    bf16 = torch.cuda.is_bf16_supported()
    assert seen == {("cuda", torch.bfloat16 if bf16 else torch.float32)}
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("cpu", torch.float32)}
    logits = predict_logits(model, examples.tokens, device="cuda")
    assert (logits.argmax(1) == examples.labels).mean() > 0.9


def test_logits_of_the_gpu_are_those_of_the_processor(
    classifier_folder: Path, examples: Examples
) -> None:
    on_gpu, on_cpu = (
        predict_logits(load_classifier(classifier_folder), examples.tokens, device=device)
        for device in ("cuda", "cpu")
    )
    np.testing.assert_allclose(on_gpu, on_cpu, atol=0.05)  # bf16 has 8 bits of precision


def test_a_run_that_was_interrupted_goes_on_to_the_same_accuracy(
    classifier_folder: Path, examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The optimizer's state and the random numbers of the GPU are in the checkpoint."""
    monkeypatch.setattr("lmopt.training.trainer.CHECKPOINT_SECONDS", 0.0)
    steps = 0

    def interrupt() -> None:
        nonlocal steps
        steps += 1
        if steps == 20:
            raise KeyboardInterrupt

    def train(after_step: Any = None) -> Any:
        model = load_classifier(classifier_folder)
        train_classifier(
            model, examples, HARD, SETTINGS, scratch=tmp_path, stage="distill",
            after_step=after_step,
        )  # fmt: skip
        return model

    with pytest.raises(KeyboardInterrupt):
        train(interrupt)
    resumed: list[int] = []
    model = train(lambda: resumed.append(1))
    whole = math.ceil(len(examples.labels) / SETTINGS.batch_size) * SETTINGS.epochs
    assert len(resumed) == whole - 19
    logits = predict_logits(model, examples.tokens, device="cuda")
    assert (logits.argmax(1) == examples.labels).mean() > 0.9


def test_a_job_uses_one_gpu_of_several(
    classifier_folder: Path, examples: Examples, tmp_path: Path
) -> None:
    """The Trainer would split each batch over all GPUs that it sees, and multiply its size."""
    if torch.cuda.device_count() < 2:
        pytest.skip("ONE GPU HERE, NOTHING TESTED ON SEVERAL")
    batches: list[tuple[int, torch.device]] = []

    def loss(logits: torch.Tensor, labels: torch.Tensor, _: Any) -> torch.Tensor:
        batches.append((len(labels), labels.device))
        return HARD(logits, labels, None)

    model = load_classifier(classifier_folder)
    once = replace(SETTINGS, epochs=1)
    train_classifier(model, examples, loss, once, scratch=tmp_path, stage="distill")
    assert {size for size, _ in batches[:-1]} == {16}
    assert len(batches) == math.ceil(len(examples.labels) / 16)
    assert {device for _, device in batches} == {torch.device("cuda:0")}
