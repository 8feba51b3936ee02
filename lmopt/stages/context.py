"""The context of stages: cache, threads, device, progress and times."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lmopt.progress import Progress
from lmopt.stages.cache import Build, Stage, run_stage


class StageTime(NamedTuple):
    """The time that this process spent on a stage. `cached` tells that it existed before."""

    name: str
    seconds: float
    cached: bool


@dataclass(frozen=True)
class Walk:
    """The settings that stages run with; `times` collects the time of each stage.

    Models are trained on `device`. `salt` becomes a part of every stage's key. None changes no key.
    """

    cache: Path
    threads: int
    progress: Progress | None = None
    device: str = "auto"
    times: list[StageTime] = field(default_factory=list)
    salt: str | None = None

    def stage(
        self,
        name: str,
        build: Build,
        stage_version: int,
        parameters: dict[str, Any],
        parents: list[str],
    ) -> Stage:
        """Load or build a stage and record its time."""
        if self.progress is not None:
            self.progress(name, None)
        if self.salt is not None:
            parameters = parameters | {"code": self.salt}
        stage = run_stage(
            self.cache, name, build, version=stage_version, parameters=parameters, parents=parents
        )
        self.times.append(StageTime(name, stage.seconds, stage.cached))
        return stage
