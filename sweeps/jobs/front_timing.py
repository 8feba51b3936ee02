"""The front's artifacts timed once more, with nothing else of the sweep running."""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.rows.table import read_rows, write_row
from analysis.selection.fronts import front_rows
from analysis.selection.objectives import candidates
from slurm.records import Job
from slurm.states import known_states
from sweeps.jobs.context import job_threads, this_job
from sweeps.run import rows as row
from sweeps.run.directory import Run, open_run
from sweeps.run.rounds import Round, write_round
from sweeps.study import healing

log = logging.getLogger("lmopt")
# Artifacts that are timed in turn in one process, beside the teacher's two: all are in memory.
TOGETHER, TOGETHER_BYTES = 8, 200_000_000


def untimed(run: Run) -> pd.DataFrame:
    """Return the rows of the front and of the reference points that were not timed alone yet."""
    rows = read_rows(run.path)
    models = candidates(rows)
    if models.empty:
        return models
    front = front_rows(rows, run.sweep.objectives, across_processors=True)
    wanted = pd.concat([front, models[models["kind"].eq("reference")]]).drop_duplicates("trial")
    return wanted[~wanted["timed_alone"].fillna(False).astype(bool)]


def measure_front(run_dir: str) -> None:
    """Be the measure job: time the front on the node that the profile chose for it."""
    time_front(open_run(run_dir), this_job())


def time_front(run: Run, job: Job) -> None:
    """Time what is on the front until all of it was timed alone, but for what cannot be made.

    New timings can put another trial on the front, whose own were taken among other workers.
    """
    failed: set[int] = set()
    while True:
        wanted = untimed(run)
        wanted = wanted[~wanted["trial"].isin(failed)] if failed else wanted
        if wanted.empty:
            return
        failed |= _time(run, first_group(wanted), job)


def first_group(wanted: pd.DataFrame) -> pd.DataFrame:
    """The first rows that one process times together: few, and small in all, but at least one."""
    fits = wanted["size_bytes"].astype(float).cumsum().le(TOGETHER_BYTES)
    return wanted.head(max(1, min(TOGETHER, int(fits.sum()))))


def _time(run: Run, wanted: pd.DataFrame, job: Job) -> set[int]:
    """Time these together; return the trials whose artifact is gone and cannot be made again."""
    from lmopt.pipeline.timing import time_artifacts
    from lmopt.runtimes.registry import processor_of
    from sweeps.export.artifacts import artifact_of
    from sweeps.run.prepared import load_prepared

    prepared = load_prepared(run, job_threads(job))
    records = [{str(name): v for name, v in values.items()} for values in wanted.to_dict("records")]
    log.info("timing alone: trials %s", ", ".join(str(values["trial"]) for values in records))
    made: list[tuple[dict[str, Any], Path]] = []
    failed: set[int] = set()
    for values in records:
        try:
            made.append((values, artifact_of(run, prepared, values)))
        except Exception:  # whatever it is, it must not keep the others from being timed
            log.exception("trial %s is not timed alone: no artifact of it", values["trial"])
            failed.add(int(values["trial"]))
    if not made:
        return failed
    artifacts = [artifact for _, artifact in made]
    latencies, noisy = time_artifacts(prepared, artifacts, cache=run.cache)
    for (values, _), latency in zip(made, latencies, strict=True):
        overlay: dict[str, Any] = {
            "trial": int(values["trial"]),
            "attempt": int(values["attempt"]),
            "timed_alone": True,
            "timing_noisy": noisy,
            "processor_timed": processor_of(prepared.runtime.name, prepared.runtime.device),
        }
        for batch, timings in latency.items():
            overlay.update(row.speed(batch, timings))
        name = run.row_path(overlay["trial"], overlay["attempt"]).name
        write_row(overlay, run.path / "remeasure" / name, partial=True)
    return failed


def measures_apart(run: Run) -> bool:
    """Whether the profile wants the front timed by a job of its own."""
    return bool(run.profile.measure.model_fields_set)


def why_not_measured(run: Run, part: Round) -> tuple[Round, str | None]:
    """Return the round with what ended its last measure job, and why another would not help."""
    if not part.measure:
        return part, None
    state = known_states(part.measure[-1:], run.jobs)[part.measure[-1]]
    if state == "DONE":
        trials = ", ".join(str(trial) for trial in untimed(run)["trial"])
        return part, f"the measure job could not make trials {trials} again; see 'lmopt logs'"
    if state == "FAILED":
        return part, f"the measure job {part.measure[-1]} ended as {state}; see 'lmopt logs'"
    part = replace(part, measure_lost=[*part.measure_lost, healing.cause_of(state)])
    write_round(run, part)
    lost = Counter("lost" if c == healing.CANCELLED else c for c in part.measure_lost)
    if healing.may_retry(run.profile.retries, lost):
        return part, None
    return part, f"the measure job was lost too often: {dict(lost)}; see 'lmopt logs'"
