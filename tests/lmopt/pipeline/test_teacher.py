from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmopt.config.models import TeacherConfig
from lmopt.data.batches import Examples
from lmopt.data.tokens import tokenize
from lmopt.models.loading import load_classifier, load_tokenizer
from lmopt.pipeline.teacher import build_teacher
from lmopt.tasks.classification import Classification, label_order

NAMES = ["деньги", "наука", "спорт"]
TASK = Classification()


@pytest.fixture
def save_classifier(teacher_folder: Path, tmp_path: Path) -> Callable[[dict[int, str]], Path]:
    """Save a classifier whose outputs have the given names, as somebody else's fine-tuned model."""

    def save(id2label: dict[int, str]) -> Path:
        torch.manual_seed(0)
        model = load_classifier(teacher_folder, list(id2label.values()))
        model.save_pretrained(tmp_path / "theirs")
        load_tokenizer(teacher_folder).save_pretrained(tmp_path / "theirs")
        return tmp_path / "theirs"

    return save


def examples_of(folder: Path, texts: list[tuple[str, str, str]]) -> Examples:
    tokens = tokenize(load_tokenizer(folder), [text for text, _, _ in texts], 32)
    return Examples(tokens, np.asarray([NAMES.index(topic) for _, topic, _ in texts]))


def build(model: Path, texts: list[tuple[str, str, str]], folder: Path, **fields: Any) -> Any:
    teacher = TeacherConfig(model=str(model), learning_rate=1e-3, batch_size=16, **fields)
    examples = examples_of(model, texts)
    build_teacher(TASK, teacher, NAMES, examples, "cpu", folder, folder / "scratch")
    return load_classifier(folder)


def test_a_finetuned_teacher_is_used_as_it_is_in_our_order_of_classes(
    save_classifier: Callable[[dict[int, str]], Path],
    texts: list[tuple[str, str, str]],
    tmp_path: Path,
) -> None:
    theirs = save_classifier({0: "Спорт", 1: "Деньги", 2: "Наука"})
    ours = build(theirs, texts, tmp_path / "ours")
    ids = torch.from_numpy(examples_of(theirs, texts).tokens[0].astype(np.int64))[None]
    expected, got = load_classifier(theirs)(ids).logits, ours(ids).logits
    torch.testing.assert_close(got, expected[:, [1, 2, 0]])
    assert ours.config.id2label == dict(enumerate(NAMES))


def test_finetuned_false_trains_a_new_head(
    save_classifier: Callable[[dict[int, str]], Path],
    texts: list[tuple[str, str, str]],
    tmp_path: Path,
) -> None:
    theirs = save_classifier({0: "a", 1: "b", 2: "c"})
    with pytest.raises(ValueError, match=r"the teacher's classes \(a, b, c\) are not the task's"):
        build(theirs, texts, tmp_path / "ours")
    ours = build(theirs, texts, tmp_path / "ours", finetuned=False, epochs=0.1)
    assert ours.config.id2label == dict(enumerate(NAMES))


def test_finetuned_is_seen_by_the_head(
    save_classifier: Callable[[dict[int, str]], Path], teacher_folder: Path
) -> None:
    theirs = str(save_classifier({0: "a", 1: "b", 2: "c"}))
    assert TASK.is_finetuned(TeacherConfig(model=theirs), ["x", "y", "z"])
    assert not TASK.is_finetuned(TeacherConfig(model=theirs), ["x", "y"])
    assert not TASK.is_finetuned(TeacherConfig(model=str(teacher_folder)), ["x", "y", "z"])
    with pytest.raises(ValueError, match="has a head of 3 classes and the task has 2"):
        TASK.is_finetuned(TeacherConfig(model=theirs, finetuned=True), ["x", "y"])
    with pytest.raises(ValueError, match="has no classification head"):
        TASK.is_finetuned(TeacherConfig(model=str(teacher_folder), finetuned=True), ["x", "y"])


def test_generic_names_are_taken_in_order_for_numbered_classes_only() -> None:
    generic = {0: "LABEL_0", 1: "LABEL_1"}
    assert label_order(generic, ["0", "1"]) == [0, 1]
    with pytest.raises(ValueError, match="set id2label"):
        label_order(generic, ["negative", "positive"])
