"""General distillation: what it brings nearer, what it leaves alone, what its stage depends on."""

from pathlib import Path

import pytest
import torch

from lmopt.config import Recipe, TaskConfig, TeacherConfig
from lmopt.data import load_tokens
from lmopt.examples import padded
from lmopt.features import feature_loss
from lmopt.models import load_classifier
from lmopt.passes import Texts, pretrain_stage, student_stage
from lmopt.stages import Walk, data_stage, teacher_stage, tokens_stage, unlabelled_stage

RECIPE = Recipe(layers=1, pretrain_epochs=4, batch_size=16, dropout=0.0)


@pytest.fixture
def walk(tmp_path: Path) -> Walk:
    return Walk(tmp_path / "cache", 1)


@pytest.fixture
def task(csv_file: Path, tmp_path: Path) -> TaskConfig:
    """The Russian texts, and lines of the same words that nobody labelled."""
    (tmp_path / "lines.txt").write_text(
        "\n".join(f"матч банк {word} поднял" for word in ("слово", "тут", "там", "первое")),
        encoding="utf-8",
    )
    return TaskConfig.model_validate(
        {
            "dataset": str(csv_file),
            "text_column": "body",
            "label_column": "topic",
            "group_column": "document",
            "max_length": 16,
            "unlabelled": {"dataset": str(tmp_path / "lines.txt")},
        }
    )


def test_hidden_states_come_nearer_and_the_head_stays(
    walk: Walk, task: TaskConfig, teacher_folder: Path
) -> None:
    data = data_stage(walk, task)
    extra = unlabelled_stage(walk, task, data)
    assert extra is not None
    tokens = tokens_stage(walk, data, teacher_folder, 16)
    config = TeacherConfig(model=str(teacher_folder), epochs=1, learning_rate=1e-3)
    teacher = teacher_stage(walk, data, tokens, config)
    student = student_stage(walk, data, RECIPE, teacher, tokens)
    more = Texts(extra, tokens_stage(walk, extra, teacher_folder, 16), tokens, "unlabelled")
    texts = Texts(data, tokens, tokens, extra=more)  # Nobody asks for logits.

    made = pretrain_stage(walk, RECIPE, student, texts, teacher)
    before, after = load_classifier(student.path), load_classifier(made.path)
    torch.testing.assert_close(after.classifier.weight, before.classifier.weight, rtol=0, atol=0)
    assert not any("projection" in name for name, _ in after.named_parameters())
    near, far = (distance(s.path, teacher.path, tokens.path) for s in (made, student))
    assert near < 0.6 * far

    changes = (
        (RECIPE, texts, True),
        (RECIPE.model_copy(update={"temperature": 5.0, "token_dropout": 0.5}), texts, True),
        (RECIPE.model_copy(update={"seed": 1}), texts, False),
        (RECIPE.model_copy(update={"pretrain_examples": 2}), texts, False),
        (RECIPE, texts._replace(extra=None), False),
    )
    for recipe, read, same in changes:
        assert (pretrain_stage(walk, recipe, student, read, teacher).key == made.key) is same


def distance(student: Path, teacher: Path, tokens: Path) -> float:
    """The loss on held-out text: as wide as its teacher, a student needs no projection."""
    model = load_classifier(student)
    features = feature_loss(model, student, teacher, hidden_weight=1, attention_weight=0, seed=0)
    texts = load_tokens(tokens / "tokens.npz")["test"]
    batch = padded([texts[i] for i in range(32)], model)
    with torch.no_grad():
        outputs = model(**batch, output_hidden_states=True)
        return float(features(outputs, batch["input_ids"], batch["attention_mask"]))


def test_what_cannot_matter_is_at_its_default() -> None:
    settings = {"pretrain_learning_rate": 1e-2, "pretrain_examples": 5}
    assert Recipe(**settings).canonical() == Recipe()
    static = Recipe(layers=0, epochs=1, pretrain_epochs=2, **settings)
    assert static.key() == Recipe(layers=0, epochs=1).key()
    assert RECIPE.canonical() == RECIPE.model_copy(update={"learning_rate": 1e-4})
    assert RECIPE.untrained().pretrain_epochs == 0
