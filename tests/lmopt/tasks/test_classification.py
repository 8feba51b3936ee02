"""Classification as a task: its metrics against scikit-learn, its losses, and its answer."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score
from torch.nn.functional import cross_entropy, kl_div

from lmopt.data.dataset import Data, Split
from lmopt.tasks.base import Metric
from lmopt.tasks.classification import Classification
from lmopt.tasks.registry import TASKS, task_of
from lmopt.training.losses import distillation_loss

TASK = Classification()
METRICS = {metric.name: metric for metric in TASK.metrics}


def example(n: int, classes: int, seed: int) -> tuple[NDArray[np.float32], Split]:
    """Logits that are right more often than not; a class may never occur or never be said."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, max(1, classes - seed % 2), n)
    logits = random.normal(size=(n, classes)).astype(np.float32)
    logits[np.arange(n), labels] += 1
    if seed % 3 == 0:
        logits[:, 0] = -9
    return logits, Split(["text"] * n, labels, random.integers(0, 5, n))


def value(metric: Metric, logits: NDArray[np.float32], split: Split) -> float:
    statistics = TASK.statistics(logits, split)
    return float(metric.value(statistics.sum(axis=0, dtype=float), len(statistics)))


@pytest.mark.parametrize("seed", range(12))
def test_metrics_are_those_of_scikit_learn_to_the_bit(seed: int) -> None:
    for n, classes in ((1, 2), (50, 3), (997, 40)):
        logits, split = example(n, classes, seed)
        said = logits.argmax(axis=1)
        assert value(METRICS["accuracy"], logits, split) == (said == split.labels).mean()
        expected = f1_score(split.labels, said, average="macro")
        assert value(METRICS["macro_f1"], logits, split) == expected


def test_statistics_are_the_counts_of_a_confusion_matrix() -> None:
    logits, split = example(300, 4, 1)
    right, *counts = TASK.statistics(logits, split).sum(axis=0, dtype=int)
    matrix = confusion_matrix(split.labels, logits.argmax(axis=1), labels=range(4))
    assert right == np.trace(matrix)
    expected = [*np.diag(matrix), *matrix.sum(axis=0), *matrix.sum(axis=1)]
    assert counts == expected


def test_metrics_take_the_complex_sums_that_their_errors_need() -> None:
    """The derivative by a complex step against central differences, at odd averages."""
    means = np.random.default_rng(0).uniform(0.2, 0.4, 1 + 3 * 4)
    for metric in TASK.metrics:
        for place in range(len(means)):
            step = np.zeros(len(means))
            step[place] = 1e-5
            exact = np.imag(metric.value(means + 1e-30j * (step > 0), 1.0)) / 1e-30
            up, down = (metric.value(means + sign * step, 1.0) for sign in (1, -1))
            assert exact == pytest.approx((up - down) / 2e-5, abs=1e-8)
            assert metric.value(7 * means, 7.0) == pytest.approx(metric.value(means, 1.0))


def test_closeness_is_zero_for_the_teacher_itself_and_the_divergence_else() -> None:
    teacher, _ = example(60, 3, 0)
    student, _ = example(60, 3, 1)
    assert TASK.closeness(teacher, teacher) == {"agreement": 1.0, "kl": 0.0}
    found = TASK.closeness(student, teacher)
    log = [torch.from_numpy(x).double().log_softmax(-1) for x in (student, teacher)]
    expected = kl_div(*log, reduction="batchmean", log_target=True).item()
    assert found["kl"] == pytest.approx(expected)
    assert found["agreement"] == (teacher.argmax(1) == student.argmax(1)).mean()


def test_masked_losses_are_those_of_the_positions_that_count() -> None:
    """As a task of tags needs them: (batch, positions, classes), where padding must not count."""
    random = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 3, 5, 4, generator=random)
    labels = torch.randint(0, 4, (3, 5), generator=random)
    mask = torch.arange(5) < torch.tensor([[5], [2], [3]])
    flat = [torch.cat([x[0, :5], x[1, :2], x[2, :3]]) for x in (student, teacher, labels)]
    torch.testing.assert_close(TASK.loss(student, labels, mask), cross_entropy(flat[0], flat[2]))
    torch.testing.assert_close(
        TASK.soft_loss(student, teacher, 2.0, mask), TASK.soft_loss(flat[0], flat[1], 2.0)
    )
    torch.testing.assert_close(TASK.loss(flat[0], flat[2]), cross_entropy(flat[0], flat[2]))


def test_the_loss_of_training_is_made_of_the_task_s() -> None:
    logits, labels, teacher = torch.randn(4, 3), torch.tensor([0, 1, 2, -1]), torch.randn(4, 3)
    hard, soft = (lambda *_: torch.tensor(2.0)), (lambda *_: torch.tensor(10.0))
    mixed = distillation_loss(2.0, 0.25, hard=hard, soft=soft)
    assert mixed(logits, labels, teacher).item() == 0.75 * 2 + 0.25 * 10
    ours = distillation_loss(2.0, 0.25, hard=TASK.loss, soft=TASK.soft_loss)
    assert ours(logits, labels, teacher) == distillation_loss(2.0, 0.25)(logits, labels, teacher)


def test_the_code_of_usage_prints_the_answer() -> None:
    names = ["a", "b c", "d"]
    for seed in range(5):
        logits = example(1, 3, seed)[0][0]
        label, sure = TASK.answer(logits, names)
        shares = torch.from_numpy(logits).softmax(-1)
        assert (label, sure) == (names[int(shares.argmax())], pytest.approx(shares.max().item()))
        prepare = "import torch, numpy as np\nlabels, logits = " + repr((names, logits.tolist()))
        codes = (("np.array(logits)", TASK.answer_code.numpy),
                 ("torch.tensor(logits)", TASK.answer_code.torch))  # fmt: skip
        for array, code in codes[seed % 2 :][:1]:
            script = f"{prepare}\nlogits = {array}\n{code}"
            done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
            assert done.stdout == f"{label} {sure:.4f}\n", done.stderr


def test_the_baseline_is_scored_as_a_model_is() -> None:
    texts = [f"{word} number {i}" for i in range(20) for word in ("ball", "bank", "cell")]
    labels = np.tile([0, 1, 2], 20)
    split = Split(texts, labels, np.arange(60))
    parts = {"train": split, "validation": split, "test": Split(["ball"], labels[:1], labels[:1])}
    found = TASK.baseline(Data(["sport", "money", "science"], parts, "key"))
    assert found.outputs["validation"].shape == (60, 3)
    assert value(METRICS["accuracy"], found.outputs["validation"], split) == 1.0
    assert found.outputs["test"].tolist() == [[1.0, 0.0, 0.0]] and found.size_bytes > 0


def test_a_task_is_found_by_its_name() -> None:
    assert task_of("classification") is TASKS[0]
    with pytest.raises(ValueError, match=r"one of classification, got 'regresion'"):
        task_of("regresion")
    assert len({task.kind for task in TASKS}) == len(TASKS)
    for task in TASKS:
        assert len({metric.name for metric in task.metrics}) == len(task.metrics) > 0


def test_the_registry_is_light() -> None:
    heavy = "torch transformers datasets sklearn pandas pyarrow"
    loaded = f"[name for name in '{heavy}'.split() if name in sys.modules]"
    code = f"import sys, lmopt.tasks.registry; print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
