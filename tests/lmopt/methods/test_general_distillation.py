"""General distillation: what it brings nearer, what it leaves alone, what its stage depends on."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lmopt.compression.general_distillation import save_states, states_to_learn
from lmopt.config.models import TeacherConfig
from lmopt.config.task import TaskConfig
from lmopt.data.batches import Collator, ExampleDataset, Examples, States, pad_id, padded, select
from lmopt.data.tokens import load_tokens
from lmopt.methods import general_distillation, vocabulary
from lmopt.methods import student as student_method
from lmopt.methods.base import Context, Method, Texts
from lmopt.methods.recipe import Recipe
from lmopt.models.loading import load_classifier, load_config, load_tokenizer
from lmopt.pipeline.shared_stages import data_stage, teacher_stage, tokens_stage, unlabelled_stage
from lmopt.stages.cache import Stage
from lmopt.stages.context import Walk
from lmopt.training.imitation import feature_loss

RECIPE = Recipe(layers=1, pretrain_epochs=4, batch_size=16, dropout=0.0)


def run(
    method: Method, walk: Walk, recipe: Recipe, model: Stage, texts: Texts, teacher: Stage
) -> Stage:
    """Apply one method as the pipeline does."""
    context = Context(
        walk=walk,
        teacher=teacher,
        checkpoint=None,
        max_length=16,
        whole=model,
        label=lambda _, part: part,
    )
    assert method.apply is not None
    return method.apply(context, recipe, model, texts)


def pretrain_stage(walk: Walk, recipe: Recipe, model: Stage, texts: Texts, teacher: Stage) -> Stage:
    return run(general_distillation.METHOD, walk, recipe, model, texts, teacher)


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


@pytest.fixture
def prepared(walk: Walk, task: TaskConfig, teacher_folder: Path) -> tuple[Stage, Texts, Stage]:
    """An untrained student, all texts, and their teacher."""
    data = data_stage(walk, task)
    extra = unlabelled_stage(walk, task, data)
    assert extra is not None
    tokens = tokens_stage(walk, data, teacher_folder, task)
    config = TeacherConfig(model=str(teacher_folder), epochs=1, learning_rate=1e-3)
    teacher = teacher_stage(walk, data, tokens, config, task)
    more = Texts(extra, tokens_stage(walk, extra, teacher_folder, task), tokens, "unlabelled")
    texts = Texts(data, tokens, tokens, extra=more)  # Nobody asks for logits.
    return run(student_method.METHOD, walk, RECIPE, teacher, texts, teacher), texts, teacher


def test_hidden_states_come_nearer_and_the_head_stays(
    walk: Walk, prepared: tuple[Stage, Texts, Stage]
) -> None:
    student, texts, teacher = prepared
    made = pretrain_stage(walk, RECIPE, student, texts, teacher)
    before, after = load_classifier(student.path), load_classifier(made.path)
    torch.testing.assert_close(after.classifier.weight, before.classifier.weight, rtol=0, atol=0)
    assert not any("projection" in name for name, _ in after.named_parameters())
    near, far = (distance(s.path, teacher.path, texts.tokens.path) for s in (made, student))
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


def test_states_are_the_teacher_s_text_by_text(
    walk: Walk, prepared: tuple[Stage, Texts, Stage], tmp_path: Path
) -> None:
    student, texts, teacher = prepared
    tokens = load_tokens(texts.tokens.path / "tokens.npz")["test"]
    layers = states_to_learn(student.path, teacher.path, 1)
    model = load_classifier(teacher.path)
    assert layers == [model.config.num_hidden_layers - 1]
    save_states(student.path, teacher.path, tokens, [0, 1], tmp_path / "s.npy", batch_size=7)

    rows = np.load(tmp_path / "s.npy", mmap_mode="r")
    labels = np.zeros(len(tokens), np.int64)
    examples = Examples(tokens, labels, states=States(rows, tokens.offsets[:-1]))
    examples = select(examples, np.array([9, 3, 20]))
    dataset = ExampleDataset(examples, np.array([0, 2]))
    batch = Collator(pad_id(model.config))([dataset[0], dataset[1]])
    asked = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    with torch.no_grad():
        states = model(**asked, output_hidden_states=True).hidden_states
    real = batch["attention_mask"].bool()
    wanted = torch.stack([states[1], states[2]], dim=2)[real]
    torch.testing.assert_close(batch["states"][real].float(), wanted, rtol=1e-2, atol=2e-2)
    assert not batch["states"][~real].any()


def test_a_teacher_whose_padding_has_another_id_reads_a_trimmed_student(
    walk: Walk, task: TaskConfig, prepared: tuple[Stage, Texts, Stage], tmp_path: Path
) -> None:
    """What stands in padded places must be in the student's vocabulary, not in the teacher's."""
    student, texts, teacher = prepared
    trim = Recipe(vocabulary_min_count=1)
    trimmed = run(vocabulary.METHOD, walk, trim, student, texts, teacher)
    mine = tokens_stage(walk, texts.data, trimmed.path, task)
    tokens = load_tokens(mine.path / "tokens.npz")["test"]
    assert len(load_tokenizer(trimmed.path)) < len(load_tokenizer(teacher.path))

    other = tmp_path / "teacher"
    shutil.copytree(teacher.path, other)
    config = load_config(other)
    config.pad_token_id = config.vocab_size - 1
    config.save_pretrained(other)
    for folder, name in ((teacher.path, "one"), (other, "two")):
        save_states(trimmed.path, folder, tokens, [0], tmp_path / name, batch_size=7)
    one, two = (np.load(tmp_path / name) for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)


def test_a_teacher_that_read_before_teaches_as_one_that_reads_along(
    walk: Walk, prepared: tuple[Stage, Texts, Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    student, texts, teacher = prepared
    recipe = RECIPE.model_copy(update={"pretrain_examples": 2})
    with monkeypatch.context() as patched:
        patched.delattr("lmopt.training.imitation.load_classifier")  # Its states are enough.
        before = pretrain_stage(walk, recipe, student, texts, teacher)
    other = pretrain_stage(walk, recipe.model_copy(update={"seed": 1}), student, texts, teacher)
    assert other.key != before.key
    assert len(list(walk.cache.glob("hidden_states/*/states.npy"))) == 1  # For both.

    monkeypatch.setattr("lmopt.compression.general_distillation.MAX_STATES_BYTES", 0)
    alone = replace(walk, cache=walk.cache.parent / "another")
    along = pretrain_stage(alone, recipe, student, texts, teacher)
    assert not list(alone.cache.glob("hidden_states/*"))
    path = texts.tokens.path
    one, two, untaught = (distance(s.path, teacher.path, path) for s in (before, along, student))
    assert one == pytest.approx(two, rel=0.02)
    assert one < 0.6 * untaught


def test_a_student_without_layers_learns_the_mean_of_a_text_s_states(
    walk: Walk, prepared: tuple[Stage, Texts, Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the last layer, over real tokens; whether the teacher has read before or reads along."""
    _, texts, teacher = prepared
    width = load_config(teacher.path).hidden_size
    shape = {"layers": 0, "static_hidden": width, "static_learning_rate": 1e-2}
    recipe = RECIPE.model_copy(update=shape)
    student = run(student_method.METHOD, walk, recipe, teacher, texts, teacher)
    made = pretrain_stage(walk, recipe, student, texts, teacher)
    path = texts.tokens.path
    assert distance(made.path, teacher.path, path) < 0.8 * distance(
        student.path, teacher.path, path
    )
    monkeypatch.setattr("lmopt.compression.general_distillation.MAX_STATES_BYTES", 0)
    alone = replace(walk, cache=walk.cache.parent / "another")
    along = pretrain_stage(alone, recipe, student, texts, teacher)
    one, two = (distance(stage.path, teacher.path, path) for stage in (made, along))
    assert one == pytest.approx(two, rel=0.02)

    model, whole = load_classifier(made.path), load_classifier(teacher.path)
    features = feature_loss(
        model, made.path, teacher.path, hidden_weight=1, attention_weight=0, seed=0
    )
    test = load_tokens(path / "tokens.npz")["test"]
    batch = padded([test[i][: 5 + i] for i in range(5)], model)
    mask = batch["attention_mask"]
    assert 0 < mask.sum() < mask.numel()
    with torch.no_grad():
        answer = whole(**batch, output_hidden_states=True).hidden_states[-1]
        wanted = torch.stack([a[m.bool()].mean(0) for a, m in zip(answer, mask, strict=True)])
        outputs = model(**batch, output_hidden_states=True)
        ours = torch.relu(model.dense(outputs.hidden_states[0])).squeeze(1)
        found = features(outputs, batch["input_ids"], mask)
    expected = (ours - wanted).square().sum() / wanted.square().sum()
    torch.testing.assert_close(found, expected)


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
    static = Recipe(layers=0, epochs=1, pretrain_epochs=2, pretrain_examples=5)
    assert static.key() != Recipe(layers=0, epochs=1).key()
    assert static.key() == static.model_copy(update={"pretrain_learning_rate": 1e-2}).key()
    assert RECIPE.canonical() == RECIPE.model_copy(update={"learning_rate": 1e-4})
    assert RECIPE.untrained().pretrain_epochs == 0
