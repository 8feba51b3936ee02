"""The stages that all trials of a run start from: made by the first that asks, then loaded."""

from pathlib import Path

from lmopt.pipeline.prepare import Prepared, prepare
from lmopt.progress import Progress
from sweeps.run.directory import Run


def load_prepared(
    run: Run, threads: int, progress: Progress | None = None, *, cache: Path | None = None
) -> Prepared:
    """Return what every trial starts from, by the run's frozen definition.

    `cache` is the run's unless another is given.
    """
    sweep = run.sweep
    return prepare(
        sweep.task,
        sweep.teacher,
        sweep.student,
        sweep.runtime,
        cache=cache or run.cache,
        threads=threads,
        progress=progress,
    )
