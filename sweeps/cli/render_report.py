"""Print plans, reports and comparisons."""

import os
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.rows.records import records
from analysis.tables.comparison import Comparison
from analysis.tables.methods_and_front import NOTE
from sweeps.cli.render_data import print_data
from sweeps.cli.render_status import feasibility_lines
from sweeps.cli.render_tables import compared_table, front_tables, legend, methods_table
from sweeps.definition.sweep import Bound
from sweeps.report.build import Report
from sweeps.report.feasibility import limits_of

if TYPE_CHECKING:
    from analysis.page.page import Page


def print_page(page: "Page", console: Console) -> None:
    """Print where a report is, and what is missing from it."""
    for name, reason in page.failures.items():
        console.print(Text(f"notebook {name} failed: {reason}", style="red"), soft_wrap=True)
    console.print(os.path.relpath(page.path), soft_wrap=True)
    if page.figures:
        kinds = ", ".join(sorted({path.suffix.removeprefix(".").upper() for path in page.figures}))
        place = os.path.relpath(page.figures[0].parent)
        count = len({path.stem for path in page.figures})
        console.print(f"{place}: {count} figures as {kinds}", soft_wrap=True)


def rough_note(front: pd.DataFrame) -> str | None:
    """Say whose speeds are not to be relied on, and why; None where all are."""
    rough = front.dropna(subset="speed_rough")
    if rough.empty:
        return None
    groups = rough.groupby("speed_rough", sort=False)["trial"]
    said = [f"{', '.join(map(str, trials))} ({why})" for why, trials in groups]
    return f"Rough speeds: trial {'; trial '.join(said)}."


def print_report(report: Report, console: Console) -> None:
    """Print the method table, the front and where the files are."""
    methods = methods_table(report.methods)
    fronts = front_tables(report.front, title=report.title)
    console.print(methods, *fronts)
    if not fronts:
        console.print(Text(f"{report.title}: no model is on it", style="bold"))
    console.print(legend([methods, *fronts]))
    if report.feasibility is not None:
        console.print(*feasibility_lines(report.feasibility), sep="\n")
    if report.warning:
        console.print(Text(report.warning, style="yellow"))
    if note := rough_note(report.front):
        console.print(Text(note, style="yellow"))
    console.print(Text(NOTE, style="dim"))
    for method in records(report.methods[report.methods["note"].notna()]):
        console.print(Text(f"{method['method']}: {method['note']}", style="dim"))
    console.print(os.path.relpath(report.results), soft_wrap=True)
    of = f"  ({report.figures_of})" if report.figures_of else ""
    for path in report.figures:
        console.print(f"{os.path.relpath(path)}{of}", soft_wrap=True)


def print_comparison(found: Comparison, console: Console) -> None:
    """Print both fronts, and in a few lines what they say of each other."""
    (first, a), (second, b) = found.fronts.items()
    title = "Front of {}; behind: the trial of {} that dominates it"
    tables = [
        compared_table(front, title=title.format(name, other))
        for name, other, front in ((first, second, a), (second, first, b))
    ]
    console.print(*tables, legend(tables))
    for name, front, other in ((first, a, second), (second, b, first)):
        behind = int(front["dominated_by"].notna().sum())
        line = Text(f"{name}: ", style="bold")
        line.append(f"hypervolume {found.hypervolumes[name]:.4f}; ", style="")
        line.append(f"{behind} of {len(front)} front points are dominated by {other}", style="")
        console.print(line)
    console.print(
        Text(
            f"One reference point for both: the baseline. Judged on {', '.join(found.judged_on)}, "
            "as measured; better in speed alone counts where the 95 % intervals are apart. A "
            "difference of accuracy within a standard error is no difference, and is not left out.",
            style="dim",
        )
    )
    if found.warning:
        console.print(Text(found.warning, style="yellow"))


def print_plan(found: dict[str, Any], console: Console) -> None:
    """Print a plan for people."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("sweep", found["name"])
    for index, (name, text) in enumerate(found["space"].items()):
        table.add_row("search" if index == 0 else "", f"{name}: {text}")
    points = found["points"]
    table.add_row("", "endless points" if points is None else f"{points} points in all")
    fixed = ", ".join(f"{name} {value}" for name, value in found["fixed"].items())
    table.add_row("fixed", fixed or "–")
    for index, (name, recipe) in enumerate(found["reference_points"].items()):
        settings = ", ".join(f"{key} {value}" for key, value in recipe.items())
        table.add_row("first" if index == 0 else "", f"{name}: {settings or 'untouched'}")
    table.add_row("", "linear: TF-IDF with logistic regression, for comparison")
    goals = ", ".join(f"{name} {direction}" for name, direction in found["objectives"].items())
    table.add_row("objectives", goals)
    bounds = {name: Bound(**bound) for name, bound in found["constraints"].items()}
    for limit in limits_of(bounds):
        table.add_row("constraint", limit.on_column)
    table.add_row("budget", f"{found['trials']} trials, {found['workers']} workers at once")
    for file in found["methods"]:
        table.add_row("note", f"the code of {file} will be run, here and in every job")
    limits = found["time_limits"]
    for index, text in enumerate(dict.fromkeys(limits.values())):
        kinds = ", ".join(kind for kind in limits if limits[kind] == text)
        table.add_row("time limit" if index == 0 else "", f"{text}: {kinds}")
    for note in found["notes"]:
        table.add_row("note", note)
    for key, name in found["elsewhere"].items():
        table.add_row("note", f"{key} {name} is not on this machine: it is taken for a hub id")
    hours = found["estimate"]["core_hours"]
    shown = "unknown" if hours is None else f"about {hours:.2g} core-hours"
    table.add_row("cost", f"{shown} ({found['estimate']['basis']})")
    console.print(table)
    if found["data"] is not None:
        print_data(found["data"], console)
