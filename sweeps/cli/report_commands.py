"""The commands that show results: the front, the page, two runs side by side, the dashboard."""

from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli.options import AsJson, RunDir
from sweeps.cli.output import print_json, terminal


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
        print_json(report.to_json())
    else:
        print_report(report, terminal())


def dashboard(
    run_dir: RunDir,
    port: Annotated[int, typer.Option(min=0, max=65535, help="On loopback; 0: any free.")] = 8080,
    browser: Annotated[bool, typer.Option(help="Open it in the browser of this machine.")] = True,
) -> None:
    """Show the study in optuna-dashboard, to be read, until Ctrl-C; follows a running sweep."""
    from sweeps.dashboard.server import serve
    from sweeps.run.directory import open_run

    serve(open_run(run_dir), port, browser=browser)


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

    runs, console = [open_run(path) for path in run_dirs], terminal()
    with console.status("reading rows") as shown:
        page = page_of(
            runs, out or report_folder(runs), lambda name: shown.update(f"running {name}")
        )
    if as_json:
        figures = [str(path) for path in page.figures]
        print_json({"page": str(page.path), "figures": figures, "failures": page.failures})
    else:
        print_page(page, console)
    if page.failures:
        raise typer.Exit(1)


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
        print_json(to_json(found))
    else:
        print_comparison(found, terminal())
