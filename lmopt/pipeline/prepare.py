"""Prepare a sweep: data, tokens, the teacher, its logits and its two artifacts."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmopt.config.models import StudentConfig, TeacherConfig
from lmopt.config.task import TaskConfig
from lmopt.data.dataset import Data
from lmopt.environment import configure_libraries
from lmopt.methods.base import Texts
from lmopt.methods.recipe import Recipe
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

log = logging.getLogger("lmopt")


@dataclass(frozen=True)
class Prepared:
    """The inputs that all trials of a sweep share.

    `baseline` is the teacher's fp32 artifact, and `baseline_logits` (n, classes) are its logits.
    `baseline16` is the teacher stored in 16 bits. The dictionaries have the keys "validation" and
    "test".
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
        """Return the name of each class, in the order of the logits."""
        return self.data.label_names

    @property
    def labels(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return the true classes (n,) of the held-out splits."""
        return {name: self.data.splits[name].labels for name in ("validation", "test")}

    @property
    def groups(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return the document numbers (n,) of the held-out splits."""
        return {name: self.data.splits[name].groups for name in ("validation", "test")}

    @property
    def teacher_key(self) -> str:
        """Return the content key of the fine-tuned teacher."""
        return self.teacher_stage.key

    @property
    def baseline_size_bytes(self) -> int:
        """Return the size in bytes of the fp32 artifact's model files."""
        return read_manifest(self.baseline).size_bytes


def read_task(
    task: TaskConfig, *, cache: Path, threads: int, progress: Progress | None = None
) -> Data:
    """Return the task's texts, labels and documents, without reading any model.

    The report of the data is the first line of the log.

    Raises:
        UserError: The data cannot be used.
    """
    configure_libraries(threads)
    data = data_stage(Walk(cache, threads, progress), task)
    if data.report is not None:
        log.info("%s", data.report.sentence())
    return data


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
    """Build or load data, tokens, the teacher, its logits and its two artifacts.

    Raises:
        UserError: The data or a model cannot be used.
    """
    configure_libraries(threads)
    processor_of(runtime.name, runtime.device)  # Raises where its device is missing.
    walk = Walk(cache, threads, progress)
    data = data_stage(walk, task)
    tokens = tokens_stage(walk, data, teacher.model, task)
    if student.model is not None:  # A mistake in it is found before the teacher is trained.
        tokens_stage(walk, data, student.model, task)
    trained = teacher_stage(walk, data, tokens, teacher, task)
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
    """Return the task's extra texts in the teacher's tokens; None without extra texts.

    Labelling them takes minutes, once for all trials. Only recipes that distil on them need it.
    """
    unlabelled = unlabelled_stage(walk, prepared.task, prepared.data)
    if unlabelled is None:
        return None
    teacher, split = prepared.teacher_stage, "unlabelled"
    tokens = tokens_stage(walk, unlabelled, teacher.path, prepared.task)
    logits = None
    if labelled:
        artifact = prepared.baseline16
        logits = logits_stage(walk, prepared.runtime, teacher, artifact, tokens, split)
    return Texts(unlabelled, tokens, logits, split)
