"""Workers as real processes (forked) with the real study, claims, rows and locks.

Only the pipeline is replaced (see small_run.py).
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from analysis.rows.table import final_attempts, read_rows
from lmopt.methods.recipe import Recipe
from slurm.records import Job
from sweeps.jobs import worker
from sweeps.run.directory import Run
from sweeps.study.study import open_study
from tests.sweeps.small_run import fake_outcome, fake_prepared, make_job

FORK = multiprocessing.get_context("fork")
Step = Callable[[Recipe], None]


def _run_recipe(prepared: Any, recipe: Recipe, *, cache: Path, **_: Any) -> Any:
    time.sleep(0.01)
    return fake_outcome(recipe, cache)


def work(run: Run, index: int, before: Step | None = None, *, left_s: float | None = None) -> None:
    """Be a worker job in this process, as far as everybody else can tell."""
    job = make_job(run)
    if left_s is not None:
        job = replace(job, end_time=time.time() + left_s)

    def this_job() -> Job:
        return job

    def run_recipe(prepared: Any, recipe: Recipe, **keywords: Any) -> Any:
        if before is not None:
            before(recipe)
        return _run_recipe(prepared, recipe, **keywords)

    # A forked process of its own, so nothing is put back.
    worker.this_job, worker.run_recipe = this_job, run_recipe
    worker.load_prepared = lambda *_: fake_prepared()
    worker.work(str(run.path), index, run.profile.job("worker"))


def work_together(run: Run, workers: int, before: Step | None = None) -> None:
    """Run some workers at once to their end."""
    processes = [FORK.Process(target=work, args=(run, i, before)) for i in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)


def check_whole(run: Run, trials: int) -> None:
    """Rows and study agree, each number is there once, no point was run twice."""
    study, rows = open_study(run), final_attempts(read_rows(run.path))
    assert sorted(rows["trial"]) == list(range(trials)) == [t.number for t in study.trials]
    assert rows["recipe_key"].is_unique
    for trial, row in zip(study.trials, rows.sort_values("trial").to_dict("records"), strict=True):
        assert trial.state.name == row["state"]
        if trial.state == TrialState.COMPLETE:
            assert trial.values == [row[name] for name in run.sweep.objectives]


def kill_at_trial(marker: Path) -> Step:
    """Die of kill -9 in the middle of the first trial that has 2 bits."""

    def before(recipe: Recipe) -> None:
        if recipe.bits == 2 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return before
