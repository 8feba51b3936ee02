"""Watching a run in a terminal: a line for each finished trial, live progress below."""

import contextlib
import os
import time
import warnings

import pandas as pd
from rich.console import Console
from rich.live import Live
from rich.text import Text

from analysis.rows.records import records
from analysis.rows.table import read_rows
from slurm.states import LIVE
from sweeps.cli.render_files import disk_line
from sweeps.cli.render_report import print_report
from sweeps.cli.render_status import TRIAL_HEADER, headline, status_view, trial_line
from sweeps.cli.render_tables import parameter_legend
from sweeps.definition.errors import MISTAKES
from sweeps.disk.usage import read_disk
from sweeps.jobs.launch import cancel_run
from sweeps.report.build import pareto_report
from sweeps.report.status import Status, read_status
from sweeps.run.directory import Run
from sweeps.run.files import quoted

LOCAL_INTERVAL_S = 1.0
SLURM_INTERVAL_S = 10.0  # the scheduler is asked each time
SHARE = 0.05  # of a core that looking may take: trials run beside it
LONGEST_S = 10.0  # between two looks, even where they cost more than that
_AROUND_FRONT_LINES = 20  # of a live status: a view that is taller than the terminal is cut off


def follow(run: Run, console: Console, *, until_idle: bool = True) -> Status:
    """Show a run until it is finished or nothing of it lives any more; return its last status."""
    interval = LOCAL_INTERVAL_S if run.profile.scheduler == "local" else SLURM_INTERVAL_S
    seen: set[tuple[int, int]] = set()
    stage = ""
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            began = time.process_time()
            status = read_status(run)
            print_new_rows(run, console, seen)
            if console.is_terminal:
                live.update(status_view(status, front_rows=console.height - _AROUND_FRONT_LINES))
            else:
                stage = _print_stage(status, console, stage)
            if until_idle and (status.finished or not _alive(status)):
                return status
            spared_s = (time.process_time() - began) / SHARE
            time.sleep(max(interval, min(spared_s, LONGEST_S)))


def print_new_rows(run: Run, console: Console, seen: set[tuple[int, int]]) -> None:
    """Print every attempt that ended since the last call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a row being replaced this moment
        rows = read_rows(run.path).sort_values("finished_utc")
    for row in records(rows):
        key = (-1 if pd.isna(row["trial"]) else int(row["trial"]), int(row["attempt"]))
        if key not in seen:
            if not seen:
                console.print(Text(TRIAL_HEADER, style="dim"), soft_wrap=True)
                if names := parameter_legend(list(run.sweep.search)):
                    console.print(names)
            seen.add(key)
            console.print(trial_line(row), soft_wrap=True)


def _print_stage(status: Status, console: Console, before: str) -> str:
    """Say in a pipe what a run prepares: there is no live view to show it."""
    stages = [f"{p.kind}: {p.stage}" for p in status.working if p.trial is None and p.stage]
    if stages and stages[0] != before:
        console.print(Text(stages[0], style="dim"))
        return stages[0]
    return before


def _alive(status: Status) -> bool:
    return any(status.jobs.get(state) for state in LIVE)


def follow_to_end(run: Run, console: Console) -> int:
    """Follow a run that was just submitted, print its report; return the exit code.

    Ctrl-C ends the jobs of a local run, which belong to this terminal, and only stops watching a
    run on Slurm.
    """
    try:
        status = follow(run, console)
    except KeyboardInterrupt:
        return _interrupted(run, console)
    path = quoted(os.path.relpath(run.path))
    if not status.finished or not status.trials["COMPLETE"]:
        error = status.error or f"no trial succeeded; see 'lmopt logs {path}'"
        console.print(Text(error, style="red"), soft_wrap=True)
        return 1
    print_report(pareto_report(run), console)
    console.print(headline(status))
    print_disk_line(run, console)
    return 0


def print_disk_line(run: Run, console: Console) -> None:
    """Print what a run has on disk, if that can be read."""
    with contextlib.suppress(OSError, *MISTAKES):  # a neighbour's run that is newer, for one
        console.print(Text(disk_line(read_disk(run)), style="dim"), soft_wrap=True)


def _interrupted(run: Run, console: Console) -> int:
    path = quoted(os.path.relpath(run.path))
    if run.profile.scheduler == "local":
        cancel_run(run)
        console.print(f"interrupted; nothing is lost, go on with 'lmopt resume {path} --wait'")
    else:
        console.print(f"still running; watch with 'lmopt status {path} --watch'")
    return 130
