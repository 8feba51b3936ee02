"""The context that stages run in: cache, threads, device, progress and times."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lmopt.progress import Progress
from lmopt.stages.cache import Build, Stage, run_stage


class StageTime(NamedTuple):
    """What a stage cost this process; `cached`: it had been built before."""

    name: str
    seconds: float
    cached: bool


@dataclass(frozen=True)
class Walk:
    """Where stages are kept and how they are run; `times` collects what each one cost.

    `device` is where models are trained.
    """

    cache: Path
    threads: int
    progress: Progress | None = None
    device: str = "auto"
    times: list[StageTime] = field(default_factory=list)

    def stage(
        self,
        name: str,
        build: Build,
        stage_version: int,
        parameters: dict[str, Any],
        parents: list[str],
    ) -> Stage:
        """Load or build a stage and remember its time."""
        if self.progress is not None:
            self.progress(name, None)
        stage = run_stage(
            self.cache, name, build, version=stage_version, parameters=parameters, parents=parents
        )
        self.times.append(StageTime(name, stage.seconds, stage.cached))
        return stage
