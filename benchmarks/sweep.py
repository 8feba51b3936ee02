"""Compare a worker's trials with the same trials in a bare loop of `run_recipe`.

A sweep adds the proposal, the claim, locks, progress, the row on disk and the tell to a trial. Both
sides load the prepared task and run the same recipes in the same order in one process. Each uses a
copy of the cache as `prepare` left it.
"""

import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.ratio import Ratio, in_turn
from lmopt.methods.recipe import Recipe
from lmopt.pipeline.trial import run_recipe
from slurm.profile import load_profile
from sweeps.definition.sweep import SweepConfig, parse_sweep
from sweeps.jobs import worker
from sweeps.jobs.prepare import load_prepared
from sweeps.run import claims
from sweeps.run.directory import Run, create_run
from sweeps.study.study import open_study
from tests.sweeps.small_run import make_job

THREADS = 1


def sweep_ratio(definition: Mapping[str, Any], rounds: int) -> Ratio:
    """Return the wall time of a worker over that of the bare loop."""
    sweep = parse_sweep(dict(definition), source="benchmark")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load_prepared(_new_run(folder / "first", sweep, folder / "prepared"), THREADS)
        recipes: list[Recipe] = []

        def by_worker() -> float:
            run = _new_run(folder / "run", sweep, _fresh_cache(folder))
            seconds = _work(run)
            recipes[:] = _recipes(run)
            shutil.rmtree(run.path)
            return seconds

        def by_loop() -> float:
            run = _new_run(folder / "run", sweep, _fresh_cache(folder))
            start = time.perf_counter()
            prepared = load_prepared(run, THREADS)
            for recipe in recipes:
                run_recipe(prepared, recipe, cache=run.cache, threads=THREADS)
            seconds = time.perf_counter() - start
            shutil.rmtree(run.path)
            return seconds

        return in_turn(by_worker, by_loop, rounds)


def _new_run(path: Path, sweep: SweepConfig, cache: Path) -> Run:
    return create_run(path, sweep, load_profile("local"), cache, {})


def _fresh_cache(folder: Path) -> Path:
    """Return a copy of the cache as `prepare` left it."""
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    shutil.copytree(folder / "prepared", cache)
    return cache


def _work(run: Run) -> float:
    open_study(run)
    job = make_job(run)
    with patch.object(worker, "this_job", lambda: job):
        start = time.perf_counter()
        worker.work(str(run.path), 0, run.profile.job("worker"))
        seconds = time.perf_counter() - start
    states = [trial.state.name for trial in open_study(run).get_trials(deepcopy=False)]
    if states != ["COMPLETE"] * run.trials:
        raise RuntimeError(f"trials ended as {states}: nothing to compare")
    return seconds


def _recipes(run: Run) -> list[Recipe]:
    """Return the recipes that the worker ran, in its order."""
    owners = [claims.newest(run, number) for number in sorted(claims.numbers(run))]
    return [run.sweep.recipe_type(**owner.recipe) for owner in owners if owner is not None]
