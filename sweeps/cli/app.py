"""The `lmopt` command. Heavy imports happen inside the commands: `lmopt --help` must be instant."""

import errno
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeps.cli import model_commands as take_home
from sweeps.cli.encoding import protect_streams

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.run.directory import Run


app = typer.Typer(
    name="lmopt",
    help="Find the best mix of distillation, pruning and quantization for a language model: "
    "Optuna sweeps on this machine or a Slurm cluster, measured honestly.",
    epilog="Example:  lmopt submit sweeps/configs/bbc_minilm.yaml --on local --wait",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
SweepFile = Annotated[Path, typer.Argument(help="Sweep definition (YAML).", show_default=False)]
RunDir = Annotated[Path, typer.Argument(help="Run directory.", show_default=False)]
On = Annotated[str, typer.Option(help="Cluster profile: a YAML file, or 'local'.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Wait = Annotated[bool, typer.Option("--wait", help="Stay and show progress until it is done.")]
Trials = Annotated[int | None, typer.Option(min=1, help="Budget in all, replacing study.trials.")]
MISTAKE = 2


def main() -> None:
    """Run the command; a mistake of the user is one line and exit code 2, never a traceback."""
    protect_streams()
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # no line of our code
    try:
        app()
    except (ValueError, OSError, RuntimeError) as error:
        if os.environ.get("LMOPT_DEBUG"):
            raise
        for line in _said(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(MISTAKE if isinstance(error, ValueError) else 1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _said(error: Exception) -> str:
    """What an error says, without the system's number for it."""
    if not isinstance(error, OSError) or not error.strerror or error.filename is None:
        return str(error)
    remedies = {
        errno.EACCES: "; look at its rights with 'ls -ld'",
        errno.EROFS: "; runs need a disk that can be written to",
        errno.ENOSPC: "; 'lmopt disk RUN --prune' frees what no run keeps",
        errno.EDQUOT: "; 'lmopt disk RUN --prune' frees what no run keeps",
    }
    return f"{error.filename}: {error.strerror.lower()}{remedies.get(error.errno or 0, '')}"


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"lmopt {version('lmopt')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print it.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command(epilog="Example:  lmopt check sweeps/configs/bbc_minilm.yaml")
def check(sweep: SweepFile, on: On = "local", as_json: AsJson = False) -> None:
    """Check a sweep definition and show what would run: space, budget, cost."""
    from sweeps.cli.render_report import print_plan
    from sweeps.preflight.check import plan

    found = plan(sweep, on)
    if as_json:
        _print_json(found)
    else:
        print_plan(found, _console())


@app.command(epilog="Example:  lmopt submit my_sweep.yaml --on slurm/profiles/my_cluster.yaml")
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
    from sweeps.definition.sweep import load_sweep
    from sweeps.jobs.launch import launch_new
    from sweeps.preflight.check import check_inputs
    from sweeps.preflight.dry_run import render_run
    from sweeps.run.directory import create_run
    from sweeps.run.provenance import collect

    if dry_run and as_json:
        raise ValueError("--dry-run prints scripts, not JSON: leave out one of the two")
    definition = load_sweep(sweep)
    profile = _load_profile(on)
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


@app.command(epilog="Example:  lmopt resume runs/bbc_minilm --trials 60 --wait")
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


@app.command(epilog="Example:  lmopt status runs/bbc_minilm --watch")
def status(
    run_dir: RunDir,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show trials by state, workers, time used and left, and the best points so far."""
    from sweeps.cli.follow import follow, print_disk_line
    from sweeps.cli.render import status_view
    from sweeps.report.status import read_status
    from sweeps.run.directory import open_run

    run = open_run(run_dir)
    console = _console()
    if as_json:
        _print_json(read_status(run, with_sacct=True).to_json())
    elif watch:
        console.print(status_view(follow(run, console)))
    else:
        found = read_status(run, with_sacct=True)
        console.print(status_view(found))
        if found.finished:  # every file of the cache is looked at, so not while jobs write it
            print_disk_line(run, console)


@app.command(epilog="Example:  lmopt cancel runs/bbc_minilm")
def cancel(run_dir: RunDir, as_json: AsJson = False) -> None:
    """End all jobs of a run; `lmopt resume` goes on from there."""
    from analysis.rows.units import counted
    from sweeps.jobs.launch import cancel_run
    from sweeps.run.directory import open_run
    from sweeps.run.files import quoted

    run = open_run(run_dir)
    count = cancel_run(run)
    if as_json:
        _print_json({"run": str(run.path), "cancelled_jobs": count})
    else:
        print(f"cancelled {counted(count, 'job')}; go on with 'lmopt resume {quoted(run_dir)}'")


@app.command(epilog="Example:  lmopt logs runs/bbc_minilm 7")
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
        _print_json([asdict(log) for log in found])
        return
    for log in found:
        print(log)


@app.command(epilog="Example:  lmopt rebuild runs/bbc_minilm")
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


@app.command(epilog="Example:  lmopt doctor --on my_cluster.yaml")
def doctor(
    on: On = "local",
    folder: Annotated[Path, typer.Option("--dir", help="Where runs go.")] = Path("runs"),
    cache: Annotated[
        Path | None, typer.Option(help="Where their stages go, if on another file system.")
    ] = None,
    wait_s: Annotated[float, typer.Option(min=1, help="For a node, in the queue.")] = 300,
    as_json: AsJson = False,
) -> None:
    """Check Python, disk, scheduler and a node of each kind; a bad line says what to do."""
    from dataclasses import asdict

    from sweeps.preflight.doctor import examine

    found = []
    for finding in examine(_load_profile(on), folder, wait_s, cache):
        found.append(finding)
        if not as_json:
            print(f"{'FAIL' if finding.remedy else 'ok':5}{finding.what}: {finding.said}")
            if finding.remedy:
                print(f"     -> {finding.remedy}")
    if as_json:
        _print_json([asdict(finding) for finding in found])
    raise typer.Exit(int(any(finding.remedy for finding in found)))


@app.command(epilog="Example:  lmopt pareto runs/bbc_minilm --json | jq '.front[0]'")
def pareto(
    run_dir: RunDir,
    where: Annotated[
        str | None,
        typer.Option(help="The front of these models only: 'bits <= 4 and size_bytes < 5e6'."),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(help="Column to sort by, the best first; -COLUMN: last.")
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the front as CSV.")] = False,
    figure: Annotated[
        Path | None, typer.Option(help="Stem of the figure. Default: RUN/report/pareto_front.")
    ] = None,
) -> None:
    """Print the method table and the front, and draw the figure (PNG, SVG, PDF)."""
    from sweeps.cli.render_report import print_report
    from sweeps.definition.errors import ConfigError
    from sweeps.report.build import pareto_report
    from sweeps.run.directory import open_run

    if as_csv and as_json:
        raise ConfigError("give one of --csv and --json, not both")
    report = pareto_report(open_run(run_dir), figure, where=where, sort=sort)
    if as_csv:
        print(report.front.to_csv(index=False), end="")
    elif as_json:
        _print_json(report.to_json())
    else:
        print_report(report, _console())


@app.command(epilog="Example:  lmopt dashboard runs/bbc_minilm --port 8090")
def dashboard(
    run_dir: RunDir,
    port: Annotated[int, typer.Option(min=0, max=65535, help="On loopback; 0: any free.")] = 8080,
    browser: Annotated[bool, typer.Option(help="Open it in the browser of this machine.")] = True,
) -> None:
    """Show the study in optuna-dashboard, to be read, until Ctrl-C; follows a running sweep."""
    from sweeps.dashboard.server import serve
    from sweeps.run.directory import open_run

    serve(open_run(run_dir), port, browser=browser)


@app.command(epilog="Example:  lmopt report runs/bbc_minilm")
def report(
    run_dirs: Annotated[list[Path], typer.Argument(help="Run directories.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder. Default: RUN/report; of several: beside the first run."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML page with figures; several runs side by side."""
    from sweeps.cli.render_report import print_page
    from sweeps.report.build import page_of, report_folder
    from sweeps.run.directory import open_run

    runs, console = [open_run(path) for path in run_dirs], _console()
    with console.status("reading rows") as shown:
        page = page_of(
            runs, out or report_folder(runs), lambda name: shown.update(f"running {name}")
        )
    if as_json:
        figures = [str(path) for path in page.figures]
        _print_json({"page": str(page.path), "figures": figures, "failures": page.failures})
    else:
        print_page(page, console)
    if page.failures:
        raise typer.Exit(1)


@app.command(epilog="Example:  lmopt compare runs/tpe runs/random")
def compare(
    first: Annotated[Path, typer.Argument(help="Run directory.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="Another one.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Compare two runs of one task: fronts, hypervolumes, whose points the other dominates."""
    from sweeps.cli.render_report import print_comparison
    from sweeps.report.compare import compare as compare_them
    from sweeps.report.compare import to_json
    from sweeps.run.directory import open_run

    found = compare_them(open_run(first), open_run(second))
    if as_json:
        _print_json(to_json(found))
    else:
        print_comparison(found, _console())


@app.command(epilog="Example:  lmopt schema > sweep.schema.json")
def schema() -> None:
    """Print the JSON schema of a sweep definition; editors complete and check with it."""
    from sweeps.definition.sweep import SweepConfig

    _print_json(SweepConfig.model_json_schema())


take_home.add_commands(app)


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

        code = follow_to_end(run, _console(stderr=as_json))
        if as_json:
            _print_json(read_status(run, with_sacct=True).to_json())
        raise typer.Exit(code)
    if as_json:
        jobs = {kind: [] if nothing else getattr(last, kind) for kind in JOB_KINDS}
        _print_json({"run": str(run.path), "trials": run.trials, "jobs": jobs})
        return
    from analysis.rows.units import counted

    path = quoted(os.path.relpath(run.path))
    print(f"submitted {counted(len(last.jobs), 'job')}; watch with 'lmopt status {path} --watch'")


def _load_profile(name: str) -> Any:
    from slurm.profile import load_profile

    return load_profile(name)


def _console(*, stderr: bool = False) -> "Console":
    from sweeps.cli.render import console

    return console(stderr=stderr)


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2, default=str))
