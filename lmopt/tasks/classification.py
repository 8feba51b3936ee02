"""Text classification: one of several classes for each text."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmopt.config.models import TeacherConfig
from lmopt.config.task import TaskConfig
from lmopt.data import dataset
from lmopt.data.dataset import Data, Split
from lmopt.data.tokens import Tokens, tokenize
from lmopt.errors import UserError
from lmopt.tasks.base import AnswerCode, Baseline, Metric, Outputs, Statistics

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_PRINT = 'print(f"{labels[shares.argmax()]} {shares.max():.4f}")\n'


def accuracy(sums: npt.NDArray[Any], count: float) -> Any:
    """Share of the examples that are right; the first statistic is 1 where one is."""
    return sums[0] / count


def macro_f1(sums: npt.NDArray[Any], count: float) -> Any:
    """Mean of the classes' F1: 2 tp / (predicted + gold), over the classes that occur.

    A class that is neither predicted nor true in the split has no F1 and does not count.
    """
    right, predicted, gold = sums[1:].reshape(3, -1)
    total = predicted + gold
    occurs = total.real > 0
    return (2 * right[occurs] / total[occurs]).mean()


class Classification:
    """Text classification; outputs are logits (n, classes), the truth is one class each."""

    kind = "classification"
    outputs: tuple[str, ...] = ("logits",)
    metrics: tuple[Metric, ...] = (
        Metric("accuracy", "accuracy", "share", "maximize", accuracy),
        Metric("macro_f1", "macro F1", "share", "maximize", macro_f1),
    )
    answer_code = AnswerCode(
        numpy=f"shares = np.exp(logits - np.logaddexp.reduce(logits))\n{_PRINT}",
        torch=f"shares = logits.softmax(-1)\n{_PRINT}",
    )
    data_version: int = dataset.VERSION

    def build_data(self, task: TaskConfig, folder: Path) -> None:
        """Read, chunk, deduplicate and split the data; see `lmopt.data.dataset.build_data`."""
        dataset.build_data(task, folder)

    def load_data(self, folder: Path) -> Data:
        """Load what `build_data` wrote."""
        return dataset.load_data(folder)

    def encode(self, tokenizer: Any, texts: Sequence[str], max_length: int) -> Tokens:
        """Token ids with special tokens, truncated, not padded."""
        return tokenize(tokenizer, list(texts), max_length)

    def is_finetuned(self, teacher: TeacherConfig, label_names: list[str]) -> bool:
        """Whether the checkpoint has a classification head with as many classes as the task.

        Raises ValueError where `finetuned: true` is asked of a checkpoint without such a head.
        """
        from lmopt.models.loading import load_config

        if teacher.finetuned is False:
            return False
        config = load_config(teacher.model)
        architectures = config.architectures or []
        has_head = any(name.endswith("ForSequenceClassification") for name in architectures)
        fits = has_head and config.num_labels == len(label_names)
        if teacher.finetuned and not fits:
            head = (
                f"a head of {config.num_labels} classes" if has_head else "no classification head"
            )
            raise UserError(
                f"teacher.finetuned is true, but {teacher.model} has {head} and the task has "
                f"{len(label_names)} classes: set teacher.finetuned to false to train one"
            )
        return fits

    def load_finetuned(self, model: str, label_names: list[str]) -> "PreTrainedModel":
        """Load a fine-tuned classifier; output i means `label_names[i]`."""
        from lmopt.models.loading import load_classifier

        loaded = load_classifier(model)
        reorder_head(loaded, label_order(loaded.config.id2label, label_names), label_names)
        return loaded

    def load_untrained(self, model: str, label_names: list[str]) -> "PreTrainedModel":
        """Load a checkpoint with a new head for these classes."""
        from lmopt.models.loading import load_classifier

        return load_classifier(model, label_names)

    def loss(
        self, outputs: "torch.Tensor", targets: "torch.Tensor", mask: "torch.Tensor | None" = None
    ) -> "torch.Tensor":
        """Cross-entropy; a text whose class is -1 adds none, but counts in the mean."""
        from lmopt.training.losses import label_loss

        return label_loss(outputs, targets, mask)

    def soft_loss(
        self,
        outputs: "torch.Tensor",
        teacher_outputs: "torch.Tensor",
        temperature: float,
        mask: "torch.Tensor | None" = None,
    ) -> "torch.Tensor":
        """KL divergence from the teacher's distribution, both softened by `temperature`."""
        from lmopt.training.losses import kd_loss

        return kd_loss(outputs, teacher_outputs, temperature, mask)

    def statistics(self, outputs: Outputs, truth: Split) -> Statistics:
        """Whether each example is right; then, for each class, true positive, predicted, gold.

        Returns (n, 1 + 3 x classes) zeros and ones.
        """
        predicted, gold = (
            np.eye(outputs.shape[1], dtype=np.uint8)[classes]
            for classes in (outputs.argmax(axis=1), truth.labels)
        )
        right = predicted & gold
        return np.hstack([right.sum(axis=1, keepdims=True, dtype=np.uint8), right, predicted, gold])

    def closeness(self, outputs: Outputs, teacher_outputs: Outputs) -> dict[str, float]:
        """Share of predictions that are the teacher's, and mean KL(teacher || this) in nats."""
        teacher, student = _log_softmax(teacher_outputs), _log_softmax(outputs)
        divergence = (np.exp(teacher) * (teacher - student)).sum(axis=1).mean()
        return {
            "agreement": float((teacher.argmax(axis=1) == student.argmax(axis=1)).mean()),
            "kl": max(0.0, float(divergence)),
        }

    def baseline(self, data: Data) -> Baseline:
        """Fit TF-IDF with logistic regression."""
        from lmopt.tasks.linear_baseline import linear_baseline

        return linear_baseline(data)

    def answer(self, outputs: Outputs, label_names: Sequence[str]) -> tuple[str, float]:
        """Return the most probable class and its probability."""
        shares = np.exp(outputs - outputs.max())
        shares /= shares.sum()
        return label_names[int(shares.argmax())], float(shares.max())


def _log_softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def label_order(id2label: dict[int, str], label_names: list[str]) -> list[int]:
    """For each of the task's classes, find the index of the model's output that means it.

    Names decide, ignoring case. A head with generic names (LABEL_0, ...) is taken in its own order
    if the task's classes are the integers 0, 1, ...; else ValueError.
    """
    count = len(label_names)
    ours = [name.casefold() for name in label_names]
    theirs = [str(id2label[i]).casefold() for i in range(count)]
    if sorted(theirs) == sorted(ours):
        return [theirs.index(name) for name in ours]
    generic = all(re.fullmatch(r"label_\d+", name) for name in theirs)
    if generic and label_names == [str(i) for i in range(count)]:
        return list(range(count))
    raise UserError(
        f"the teacher's classes ({', '.join(id2label[i] for i in range(count))}) are not the "
        f"task's ({', '.join(label_names)}): set id2label in its config.json, "
        "or teacher.finetuned to false to train a new head"
    )


def reorder_head(model: "PreTrainedModel", order: list[int], label_names: list[str]) -> None:
    """Permute the head's outputs, in place, so that output i means `label_names[i]`."""
    import torch

    heads = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    head = [m for m in heads if m.out_features == len(order)][-1]
    with torch.no_grad():
        head.weight.copy_(head.weight[order].clone())
        if head.bias is not None:
            head.bias.copy_(head.bias[order].clone())
    model.config.id2label = dict(enumerate(label_names))
    model.config.label2id = {name: i for i, name in enumerate(label_names)}
