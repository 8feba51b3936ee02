"""The commands of a run: submit, resume, watch, cancel, read its logs, rebuild its study."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.cli.options import AsJson, On, RunDir, SweepFile, Trials, Wait
from sweeps.cli.output import print_json, terminal

if TYPE_CHECKING:
    from sweeps.run.directory import Run


def submit(
    sweep: SweepFile,
    on: On = "local",
    wait: Wait = False,
    run_dir: Annotated[Path | None, typer.Option(help="Default: runs/<name>.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Shared stages. Default: 'cache' beside the run directory.")
    ] = None,
    trials: Trials = None,
    dry_run: Annotated[bool, typer.Option(help="Print the job scripts; submit nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a sweep: prepare, workers, finalize. Returns at once unless --wait."""
    from slurm.profile import load_profile
    from sweeps.definition.errors import ConfigError
    from sweeps.definition.sweep import load_sweep
    from sweeps.jobs.launch import launch_new
    from sweeps.preflight.check import check_inputs
    from sweeps.preflight.dry_run import render_run
    from sweeps.run.directory import create_run
    from sweeps.run.provenance import collect

    if dry_run and as_json:
        raise ConfigError("--dry-run prints scripts, not JSON: leave out one of the two")
    definition = load_sweep(sweep)
    profile = load_profile(on)
    if trials is not None:
        definition = definition.with_trials(trials)
    path = run_dir or Path("runs") / definition.name
    counts = check_inputs(definition, profile)
    if dry_run:
        print(render_run(definition, profile, path, counts))
        return
    run = create_run(path, definition, profile, cache or path.parent / "cache", collect())
    launch_new(run)
    _after_submit(run, wait, as_json)


def resume(
    run_dir: RunDir,
    trials: Trials = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run the trials that failed again.")
    ] = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Go on after an interruption, or with a larger budget: finished trials stay as they are."""
    from sweeps.jobs.resume import resume_run
    from sweeps.run.directory import open_run

    resumed = resume_run(open_run(run_dir), trials, retry_failed=retry_failed)
    if resumed.said and not as_json:
        print(resumed.said)
    if resumed.submitted or as_json or (wait and resumed.working):
        _after_submit(resumed.run, wait, as_json, nothing=not resumed.submitted)


def status(
    run_dir: RunDir,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show trials by state, workers, time used and left, and the best points so far."""
    from sweeps.cli.follow import follow, print_disk_line
    from sweeps.cli.render_status import status_view
    from sweeps.report.status import read_status
    from sweeps.run.directory import open_run

    run = open_run(run_dir)
    console = terminal()
    if as_json:
        print_json(read_status(run, with_sacct=True).to_json())
    elif watch:
        console.print(status_view(follow(run, console)))
    else:
        found = read_status(run, with_sacct=True)
        console.print(status_view(found))
        if found.finished:  # every file of the cache is looked at, so not while jobs write it
            print_disk_line(run, console)


def cancel(run_dir: RunDir, as_json: AsJson = False) -> None:
    """End all jobs of a run; `lmopt resume` goes on from there."""
    from analysis.rows.units import counted
    from sweeps.jobs.launch import cancel_run
    from sweeps.run.directory import open_run
    from sweeps.run.files import quoted

    run = open_run(run_dir)
    count = cancel_run(run)
    if as_json:
        print_json({"run": str(run.path), "cancelled_jobs": count})
    else:
        print(f"cancelled {counted(count, 'job')}; go on with 'lmopt resume {quoted(run_dir)}'")


def logs(
    run_dir: RunDir,
    trial: Annotated[
        int | None, typer.Argument(help="Only the jobs that ran this trial, lost ones too.")
    ] = None,
    lines: Annotated[int, typer.Option(min=1, help="Last lines of each log.")] = 40,
    as_json: AsJson = False,
) -> None:
    """Print the end of the jobs' logs."""
    from dataclasses import asdict

    from sweeps.run.directory import open_run
    from sweeps.run.logs import tail_logs

    found = tail_logs(open_run(run_dir), trial, lines)
    if as_json:
        print_json([asdict(log) for log in found])
        return
    for log in found:
        print(log)


def rebuild(run_dir: RunDir) -> None:
    """Make the Optuna study again from the rows and claims; the old journal is kept aside."""
    from sweeps.run.directory import open_run
    from sweeps.study.rebuild import rebuild_study
    from sweeps.study.study import open_study

    run = open_run(run_dir)
    with run.lock():
        trials = rebuild_study(run)
    open_study(run)  # with the reference points that are still to come
    print(f"made the study again from the rows: {trials} trials; {run.trials} are the budget")


def _after_submit(run: "Run", wait: bool, as_json: bool, *, nothing: bool = False) -> None:
    """Say what was submitted (`nothing`: no job was), or follow it to its end.

    As JSON, what people read goes to standard error.
    """
    from sweeps.run.files import quoted
    from sweeps.run.rounds import JOB_KINDS, rounds

    last = rounds(run)[-1]
    if wait:
        from sweeps.cli.follow import follow_to_end
        from sweeps.report.status import read_status

        code = follow_to_end(run, terminal(stderr=as_json))
        if as_json:
            print_json(read_status(run, with_sacct=True).to_json())
        raise typer.Exit(code)
    if as_json:
        jobs = {kind: [] if nothing else getattr(last, kind) for kind in JOB_KINDS}
        print_json({"run": str(run.path), "trials": run.trials, "jobs": jobs})
        return
    from analysis.rows.units import counted

    path = quoted(os.path.relpath(run.path))
    print(f"submitted {counted(len(last.jobs), 'job')}; watch with 'lmopt status {path} --watch'")
