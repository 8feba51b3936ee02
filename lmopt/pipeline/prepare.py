"""Prepare a sweep: data, tokens, teacher, its logits and its two artifacts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmopt.config.models import StudentConfig, TeacherConfig
from lmopt.config.recipe import Recipe
from lmopt.config.task import TaskConfig
from lmopt.data.dataset import Data
from lmopt.environment import configure_libraries
from lmopt.methods.base import Texts
from lmopt.pipeline.shared_stages import (
    artifact_stage,
    data_stage,
    evaluate_stage,
    logits_stage,
    teacher_stage,
    tokens_stage,
    unlabelled_stage,
)
from lmopt.progress import Progress
from lmopt.runtimes.config import RuntimeConfig
from lmopt.runtimes.manifest import read_manifest
from lmopt.runtimes.registry import processor_of
from lmopt.stages.cache import Stage
from lmopt.stages.context import StageTime, Walk


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
    walk = Walk(cache, threads, progress)
    data = data_stage(walk, task)
    tokens = tokens_stage(walk, data, teacher.model, task.max_length)
    if student.model is not None:  # A mistake in it is better found before the teacher is trained.
        tokens_stage(walk, data, student.model, task.max_length)
    trained = teacher_stage(walk, data, tokens, teacher)
    baseline, baseline16 = (
        artifact_stage(walk, runtime, trained, plain, plain.storage(), tokens, task.max_length)
        for plain in (Recipe(bits=32), Recipe(bits=16))
    )
    logits = logits_stage(walk, runtime, trained, baseline16.path, tokens)
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
        baseline_logits=evaluate_stage(walk, runtime, baseline.path, tokens),
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
    logits = None
    if labelled:
        artifact = prepared.baseline16
        logits = logits_stage(walk, prepared.runtime, teacher, artifact, tokens, split)
    return Texts(unlabelled, tokens, logits, split)
