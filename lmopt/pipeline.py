"""The walk of a trial: student, pretrain, distill, prune, artifact, evaluate, latency.

Every step but the last is a stage (`lmopt.stages`); a stage that exists is loaded. Size and latency
need a shape and bits only: `run_recipe(prepared, recipe.untrained(), ...)` has them untrained.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmopt.artifact import folder_bytes, read_manifest
from lmopt.cache import Stage
from lmopt.capability import refusal
from lmopt.config import Recipe, RuntimeConfig, StudentConfig, TaskConfig, TeacherConfig
from lmopt.data import Data
from lmopt.environment import configure_libraries, library_versions
from lmopt.measure import Latency, Progress, Timed, time_in_turn
from lmopt.passes import (
    Texts,
    distill_stage,
    factorize_stage,
    finetune_stage,
    pretrain_stage,
    prune_stage,
    storage_of,
    structure_stage,
    student_stage,
    vocabulary_stage,
)
from lmopt.runtime import processor_of
from lmopt.stages import (
    StageTime,
    Walk,
    artifact_stage,
    data_stage,
    evaluate_stage,
    logits_stage,
    teacher_stage,
    tokens_stage,
    unlabelled_stage,
)


@dataclass(frozen=True)
class Prepared:
    """What all trials of a sweep share.

    `baseline` is the teacher's fp32 artifact, `baseline_logits` (n, classes) are its own;
    `baseline16` is the teacher stored in 16 bits. Keys of dictionaries: "validation", "test".
    """

    task: TaskConfig
    teacher: TeacherConfig
    student: StudentConfig
    runtime: RuntimeConfig
    data: Data
    tokens: Stage
    teacher_stage: Stage
    teacher_logits: Stage
    baseline: Path
    baseline16: Path
    baseline_logits: dict[str, npt.NDArray[np.float32]]
    stages: tuple[StageTime, ...]

    @property
    def label_names(self) -> list[str]:
        """Name of each class, in the order of the logits."""
        return self.data.label_names

    @property
    def labels(self) -> dict[str, npt.NDArray[np.int64]]:
        """True classes (n,) of the held-out splits."""
        return {name: self.data.splits[name].labels for name in ("validation", "test")}

    @property
    def groups(self) -> dict[str, npt.NDArray[np.int64]]:
        """Document numbers (n,) of the held-out splits."""
        return {name: self.data.splits[name].groups for name in ("validation", "test")}

    @property
    def teacher_key(self) -> str:
        """Content key of the fine-tuned teacher."""
        return self.teacher_stage.key

    @property
    def baseline_size_bytes(self) -> int:
        """Size of the fp32 artifact's model files."""
        return read_manifest(self.baseline).size_bytes


@dataclass(frozen=True)
class Outcome:
    """One trial, measured on its saved artifact.

    `logits` (n, classes) are of the splits "validation" and "test"; `sparsity` is the share of
    zeros among all parameters before quantization, `macs` the multiply-accumulates for the longest
    text; `latency` holds raw samples in milliseconds of "baseline", "baseline16" and "trial";
    `noisy`: the baseline's own timings scattered; `pad_to_multiple_of`: to
    multiples of how many tokens timed texts were padded, 0: models took any length.
    """

    artifact: Path
    artifact_hash: str
    size_bytes: int
    folder_bytes: int
    parameters: int
    sparsity: float
    macs: int
    transfer_bytes: int
    logits: dict[str, npt.NDArray[np.float32]]
    latency: Latency
    noisy: bool
    stages: tuple[StageTime, ...]
    processor: str
    runtime: str
    threads: int
    pad_to_multiple_of: int
    versions: dict[str, str]


def read_task(
    task: TaskConfig, *, cache: Path, threads: int, progress: Progress | None = None
) -> Data:
    """The task's texts, labels and documents, before any model is looked at.

    Raises ValueError, in one line with the remedy, for data that cannot be used.
    """
    configure_libraries(threads)
    return data_stage(Walk(cache, threads, progress), task)


def prepare(
    task: TaskConfig,
    teacher: TeacherConfig,
    student: StudentConfig,
    runtime: RuntimeConfig,
    *,
    cache: Path,
    threads: int,
    progress: Progress | None = None,
) -> Prepared:
    """Make or load what all trials share: data, tokens, teacher, its logits, its two artifacts.

    Raises ValueError, in one line with the remedy, for data or models that cannot be used.
    """
    configure_libraries(threads)
    processor_of(runtime.name, runtime.device)  # Raises where its device is missing.
    walk = Walk(cache, threads, progress, runtime=runtime)
    data = data_stage(walk, task)
    tokens = tokens_stage(walk, data, teacher.model, task.max_length)
    if student.model is not None:  # A mistake in it is better found before the teacher is trained.
        tokens_stage(walk, data, student.model, task.max_length)
    trained = teacher_stage(walk, data, tokens, teacher)
    baseline, baseline16 = (
        artifact_stage(walk, trained, plain, plain.storage(), tokens, task.max_length)
        for plain in (Recipe(bits=32), Recipe(bits=16))
    )
    logits = logits_stage(walk, trained, baseline16.path, tokens)
    return Prepared(
        task=task,
        teacher=teacher,
        student=student,
        runtime=runtime,
        data=data,
        tokens=tokens,
        teacher_stage=trained,
        teacher_logits=logits,
        baseline=baseline.path,
        baseline16=baseline16.path,
        baseline_logits=evaluate_stage(walk, baseline.path, tokens),
        stages=tuple(walk.times),
    )


def extra_texts(walk: Walk, prepared: Prepared, *, labelled: bool) -> Texts | None:
    """The task's extra texts as the teacher's tokenizer sees them; None if it has none.

    Labelling them, once for all trials, takes minutes: it is for recipes that distil on them.
    """
    unlabelled = unlabelled_stage(walk, prepared.task, prepared.data)
    if unlabelled is None:
        return None
    teacher, split = prepared.teacher_stage, "unlabelled"
    tokens = tokens_stage(walk, unlabelled, teacher.path, prepared.task.max_length)
    logits = logits_stage(walk, teacher, prepared.baseline16, tokens, split) if labelled else None
    return Texts(unlabelled, tokens, logits, split)


def run_recipe(
    prepared: Prepared,
    recipe: Recipe,
    *,
    cache: Path,
    threads: int,
    progress: Progress | None = None,
) -> Outcome:
    """Run one trial: apply the recipe to the teacher and measure the artifact that comes out.

    Raises DivergedError if a loss is not finite, ValueError if the recipe does not fit the model or
    the runtime.
    """
    configure_libraries(threads)
    if reason := refusal(prepared.runtime.name, recipe):
        raise ValueError(reason)
    walk = Walk(cache, threads, progress, recipe.device, prepared.runtime)
    recipe = recipe.canonical()
    model, tokens, storage = make_model(walk, prepared, recipe)
    artifact = artifact_stage(walk, model, recipe, storage, tokens, prepared.task.max_length).path
    logits = evaluate_stage(walk, artifact, tokens)
    start = time.perf_counter()
    latency, noisy = time_artifact(prepared, artifact, cache=cache, progress=progress)
    walk.times.append(StageTime("latency", time.perf_counter() - start, cached=False))
    manifest = read_manifest(artifact)
    return Outcome(
        artifact=artifact,
        artifact_hash=manifest.hash,
        size_bytes=manifest.size_bytes,
        folder_bytes=folder_bytes(artifact),
        parameters=manifest.parameters,
        sparsity=manifest.sparsity,
        macs=manifest.macs,
        transfer_bytes=manifest.transfer_bytes,
        logits=logits,
        latency=latency,
        noisy=noisy,
        stages=tuple(walk.times),
        processor=processor_of(prepared.runtime.name, prepared.runtime.device),
        runtime=manifest.runtime,
        threads=prepared.runtime.threads,
        pad_to_multiple_of=prepared.runtime.pad_to_multiple_of,
        versions=library_versions(),
    )


def make_model(
    walk: Walk, prepared: Prepared, recipe: Recipe
) -> tuple[Stage, Stage, dict[str, Any]]:
    """The compressed model before its weights are stored, its tokens, and how they are stored."""
    data, limit = prepared.data, prepared.task.max_length
    model = prepared.teacher_stage
    texts = Texts(data, prepared.tokens, prepared.teacher_logits)
    if recipe.pretrain_epochs > 0 or recipe.unlabelled_examples > 0:
        labelled = recipe.unlabelled_examples > 0
        texts = texts._replace(extra=extra_texts(walk, prepared, labelled=labelled))
    checkpoint = prepared.student.model if recipe.base == "student" else None
    if checkpoint is not None:
        texts = read_by(walk, texts, checkpoint, limit)
        model = student_stage(walk, data, recipe, checkpoint, texts.tokens)
    if recipe.vocabulary_min_count is not None:
        model = vocabulary_stage(walk, recipe, model, texts.tokens, limit)
        texts = read_by(walk, texts, model.path, limit)
    whole = model
    if checkpoint is None and (recipe.layers is not None or recipe.hidden_size is not None):
        model = student_stage(walk, data, recipe, model, texts.tokens)
    if recipe.embedding_rank is not None:
        model = factorize_stage(walk, recipe, model, texts.tokens)
    if recipe.pretrain_epochs > 0:
        model = pretrain_stage(walk, recipe, model, texts, prepared.teacher_stage)
    wanted = {
        "distill": recipe.epochs > 0,
        "structure": recipe.ffn_keep < 1 or recipe.heads_keep < 1,
        "sparsify": recipe.sparsity > 0,
    }
    passes = {"distill": distill_stage, "structure": structure_stage, "sparsify": prune_stage}
    for name in recipe.order.split(","):
        if wanted[name]:
            lesson = texts
            if name == "distill" and recipe.assistant_layers is not None:
                lesson = taught_by_assistant(walk, prepared, recipe, whole, texts)
            model = passes[name](walk, recipe, model, lesson, prepared.teacher_stage)
    storage = storage_of(walk, recipe, model, texts.tokens)
    if recipe.finetune_epochs > 0 or recipe.clusters is not None:
        model = finetune_stage(walk, recipe, storage, model, texts)
    return model, texts.tokens, storage


def read_by(walk: Walk, texts: Texts, model: str | Path, limit: int) -> Texts:
    """The same texts as another model's tokenizer sees them."""
    extra = None if texts.extra is None else read_by(walk, texts.extra, model, limit)
    return texts._replace(tokens=tokens_stage(walk, texts.data, model, limit), extra=extra)


def taught_by_assistant(
    walk: Walk, prepared: Prepared, recipe: Recipe, base: Stage, texts: Texts
) -> Texts:
    """The texts with the logits of a student of `assistant_layers` layers, distilled likewise.

    Source: Mirzadeh et al. (2020), Improved Knowledge Distillation via Teacher Assistant.
    """
    changes = {"layers": recipe.assistant_layers, "hidden_size": None}
    between = recipe.model_copy(update=changes)
    assistant = student_stage(walk, texts.data, between, base, texts.tokens)
    assistant = distill_stage(walk, between, assistant, texts, prepared.teacher_stage)
    plain, limit = Recipe(bits=16), prepared.task.max_length
    artifact = artifact_stage(walk, assistant, plain, plain.storage(), texts.tokens, limit).path

    def taught(part: Texts) -> Texts:
        logits = logits_stage(walk, assistant, artifact, part.tokens, part.split)
        return part._replace(logits=logits)

    extra = texts.extra if recipe.unlabelled_examples > 0 else None
    return taught(texts)._replace(extra=taught(extra) if extra else None)


def time_artifact(
    prepared: Prepared, artifact: Path, *, cache: Path, progress: Progress | None = None
) -> tuple[Latency, bool]:
    """Time an artifact against the teacher's two, in turn; the second value: it was noisy."""
    (latency,), noisy = time_artifacts(prepared, [artifact], cache=cache, progress=progress)
    return latency, noisy


def time_artifacts(
    prepared: Prepared,
    artifacts: Sequence[Path],
    *,
    cache: Path,
    progress: Progress | None = None,
) -> tuple[list[Latency], bool]:
    """Time artifacts and the teacher's two, all in turn in one process: one latency for each."""
    walk = Walk(cache, prepared.runtime.threads, progress)
    teacher = prepared.tokens.path / "tokens.npz"
    timed = {
        "baseline": Timed(prepared.baseline, teacher),
        "baseline16": Timed(prepared.baseline16, teacher),
    }
    for number, artifact in enumerate(artifacts):
        tokens = tokens_stage(walk, prepared.data, artifact, prepared.task.max_length)
        timed[f"trial{number}"] = Timed(artifact, tokens.path / "tokens.npz")
    samples, noisy = time_in_turn(
        timed,
        threads=prepared.runtime.threads,
        rounds_b1=prepared.runtime.rounds_b1,
        rounds_b32=prepared.runtime.rounds_b32,
        pad_to_multiple_of=prepared.runtime.pad_to_multiple_of,
        device=prepared.runtime.device,
        progress=progress,
    )
    return [_latency_of(samples, f"trial{number}") for number in range(len(artifacts))], noisy


def _latency_of(samples: Latency, name: str) -> Latency:
    """The samples of one artifact, called "trial", beside those of the teacher's two."""
    return {
        batch: {
            "baseline": times["baseline"],
            "baseline16": times["baseline16"],
            "trial": times[name],
        }
        for batch, times in samples.items()
    }
