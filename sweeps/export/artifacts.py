"""A trial's artifact again: as it was kept, or made anew from its row."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lmopt.methods.recipe import Recipe
from lmopt.pipeline.prepare import Prepared
from lmopt.pipeline.trial import Outcome, run_recipe
from lmopt.progress import Progress
from lmopt.stages.cache import hold
from sweeps.definition.errors import ConfigError, explain
from sweeps.run.directory import Run
from sweeps.run.files import read_json

LEAST_ROUNDS = 3  # of timing, where nobody reads the times


def recipe_of(run: Run, row: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a row.

    Raises:
        ConfigError: The row is of a version with other recipes.
    """
    recipe_type = run.sweep.recipe_type
    try:
        return recipe_type(**json.loads(row["recipe_json"]))
    except ValidationError as error:
        raise ConfigError(
            f"trial {row['trial']} was made by another version of lmopt "
            f"({'; '.join(explain(error, recipe_type))}): check out its commit, {row['git_commit']}"
        ) from None


def threads_of(row: Mapping[str, Any]) -> int:
    """Return the threads that a trial had, as far as this machine has them.

    Training adds in another order with another number of threads: the last bit differs.
    """
    cores = row.get("cores")
    had = len(str(cores).split(",")) if cores else 1
    return max(1, min(had, len(os.sched_getaffinity(0))))


def teacher_threads(run: Run, otherwise: int) -> int:
    """Return the threads that trained the run's teacher, as far as this machine has them."""
    threads = (read_json(run.path / "prepared.json") or {}).get("threads") or otherwise
    return min(int(threads), len(os.sched_getaffinity(0)))


def artifact_of(
    run: Run, prepared: Prepared, row: Mapping[str, Any], progress: Progress | None = None
) -> Path:
    """Return the folder of a trial's artifact; stages that are gone are run again."""
    path = Path(row["artifact_path"])
    if hold(path):
        return path
    return run_again(run, prepared, row, progress).artifact


def run_again(
    run: Run, prepared: Prepared, row: Mapping[str, Any], progress: Progress | None = None
) -> Outcome:
    """Run a trial's recipe in the run's cache, and time it only as much as it must be."""
    least = {"rounds_b1": LEAST_ROUNDS, "rounds_b32": LEAST_ROUNDS}
    quick = replace(prepared, runtime=prepared.runtime.model_copy(update=least))
    return run_recipe(
        quick, recipe_of(run, row), cache=run.cache, threads=threads_of(row), progress=progress
    )
