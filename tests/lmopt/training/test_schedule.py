from pathlib import Path

import numpy as np
import pytest

from lmopt.data.batches import Examples
from lmopt.data.tokens import tokenize
from lmopt.models.loading import load_classifier, load_tokenizer
from lmopt.training.losses import distillation_loss
from lmopt.training.schedule import cubic, on_schedule, optimizer_steps
from lmopt.training.trainer import TrainingSettings, train_classifier


def test_the_cubic_schedule_begins_at_nothing_and_ends_at_all() -> None:
    """Zhu & Gupta, equation 1: s_f + (s_i - s_f)(1 - (t - t_0) / (n dt))^3 with s_i = 0."""
    assert cubic(0) == 0
    assert cubic(1) == cubic(1.5) == 1
    assert 0.9 * cubic(0.25) == pytest.approx(0.9 + (0 - 0.9) * (1 - 0.25) ** 3)
    steps = [cubic(i / 20) for i in range(21)]
    growth = np.diff(steps)
    assert (growth > 0).all()
    assert (np.diff(growth) < 0).all()


@pytest.mark.parametrize(("epochs", "limit"), [(1.0, None), (0.3, None), (2.5, 50), (0.0, None)])
def test_steps_are_as_many_as_training_takes(
    epochs: float, limit: int | None, classifier_folder: Path, tmp_path: Path
) -> None:
    settings = TrainingSettings(
        epochs=epochs, learning_rate=1e-4, batch_size=16, train_examples=limit, device="cpu"
    )
    tokens = tokenize(load_tokenizer(classifier_folder), ["вчера снова город"] * 90, 32)
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    if epochs > 0:
        train_classifier(
            load_classifier(classifier_folder),
            Examples(tokens, np.arange(90) % 3),
            distillation_loss(1.0, 0.0),
            settings,
            scratch=tmp_path,
            stage="x",
            after_step=count,
        )
    assert optimizer_steps(90, settings) == steps


@pytest.mark.parametrize(("steps", "updates"), [(40, 8), (7, 3), (3, 8), (1, 8)])
def test_updates_are_spread_and_the_last_is_at_the_end(
    steps: int, updates: int, classifier_folder: Path
) -> None:
    seen: list[float] = []
    after_step = on_schedule(load_classifier(classifier_folder), steps, updates, seen.append)
    for _ in range(steps + 5):
        after_step()
    assert len(seen) == min(steps, updates)
    assert seen[-1] == 1
    assert max(np.diff([0, *seen])) <= max(1 / updates, 1 / steps) + 1 / steps


def test_the_count_goes_on_where_a_checkpoint_left_it(classifier_folder: Path) -> None:
    first, second = (load_classifier(classifier_folder) for _ in range(2))
    seen: list[float] = []
    before = on_schedule(first, 10, 10, seen.append)
    for _ in range(4):
        before()
    after = on_schedule(second, 10, 10, seen.append)
    second.load_state_dict(first.state_dict())
    after()
    assert seen == [0.1, 0.2, 0.3, 0.4, 0.5]
