"""The tables, the figure and the page of a run, for the terminal and for its `report/` folder."""

import errno
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.rows.records import plain_records
from analysis.rows.table import load_results
from analysis.selection.fronts import front_rows
from analysis.selection.query import matching, sorted_by
from analysis.selection.runs import front_parts, processor_note
from analysis.tables.methods_and_front import NOTE, front_table, method_table
from sweeps.definition.errors import ConfigError
from sweeps.report.feasibility import Feasibility, feasibility_of
from sweeps.run.directory import Run
from sweeps.run.files import quoted, write_json

if TYPE_CHECKING:
    from analysis.page.page import Page


log = logging.getLogger("lmopt")


@dataclass(frozen=True)
class Report:
    """What `lmopt pareto` shows."""

    methods: pd.DataFrame
    front: pd.DataFrame
    results: Path
    figures: list[Path]
    title: str = "Pareto front"
    warning: str | None = None
    feasibility: Feasibility | None = None  # None: the sweep has no constraints
    figures_of: str = ""  # what is in them, where it is not what is in the front's table

    def to_json(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        return {
            "methods": plain_records(self.methods),
            "front": plain_records(self.front),
            "results": str(self.results),
            "figures": [str(path) for path in self.figures],
            "note": NOTE,
            "warning": self.warning,
            "feasibility": None if self.feasibility is None else self.feasibility.to_json(),
        }


def pareto_report(
    run: Run, stem: Path | None = None, *, where: str | None = None, sort: str | None = None
) -> Report:
    """Build the tables of a run and draw its figure.

    With `where` the front is that of the models which meet the condition; the methods and the
    figure are those of all.

    Raises:
        ConfigError: No trial has finished yet, or no model meets the condition.
        UserError: A condition or a column that cannot be read, in one line with the columns.
        OSError: `stem` is no place to write to; without one the figure is left out with a warning.
    """
    from analysis.figures.front import front_figure
    from analysis.figures.fronts import fronts_figure
    from analysis.figures.style import save_figure

    rows = finished_rows(run)
    objectives = run.sweep.objectives
    among = rows if where is None else matching(rows, where)
    if among.empty:
        raise ConfigError(f"no model of {run.path} meets {where!r}; loosen the condition")
    front = front_table(rows, objectives, among)
    if sort is not None:
        front = sorted_by(front, front_rows(among, objectives), sort)
    compacted = run.path / "results.parquet"
    parts = front_parts({run.name: rows}, objectives)
    (only, *others) = parts.values()
    figure = fronts_figure(parts, objectives) if others else front_figure(only, objectives)
    figures, warnings = [], [processor_note({run.name: rows}, objectives)]
    try:
        figures = save_figure(figure, stem or run.path / "report" / "pareto_front")
    except OSError as error:
        if stem is not None:
            raise
        # Who reads another's run has come for the tables.
        warnings.append(
            f"The figure was not written ({error.strerror}): --figure takes another place."
        )
    return Report(
        methods=method_table(rows, objectives),
        front=front,
        results=compacted if compacted.exists() else run.rows,
        figures=figures,
        title="Pareto front" if where is None else f"Pareto front of the models where {where}",
        warning="\n".join(filter(None, warnings)) or None,
        feasibility=feasibility_of(run, rows),
        figures_of="" if where is None else "all models",
    )


def finished_rows(run: Run) -> pd.DataFrame:
    """Return a run's rows.

    Raises:
        ConfigError: No trial has finished yet.
    """
    rows = load_results(run.path)
    if not (rows["state"].eq("COMPLETE") & rows["kind"].ne("linear")).any():
        raise ConfigError(
            f"{run.path} has no finished trial yet; see 'lmopt status {quoted(run.path)}'"
        )
    return rows


def write_report(run: Run) -> None:
    """Write the tables, the figure and the page into the run's `report/` folder.

    The tables come first: whatever a notebook dies of, the sweep has its result.
    """
    report = pareto_report(run)
    write_json(run.path / "report" / "tables.json", report.to_json())
    if run.sweep.report == "tables":
        return
    try:
        page = page_of([run], run.path / "report")
    except Exception:  # a report must never fail the sweep that it is of
        command = f"lmopt report {quoted(run.path)}"
        log.exception("no report page; try '%s'; the tables are written", command)
        return
    for name, reason in page.failures.items():
        log.warning("notebook %s failed: %s; the rest of the report is written", name, reason)


def page_of(
    runs: Sequence[Run], folder: Path, progress: Callable[[str], None] = lambda _: None
) -> "Page":
    """Run the notebooks on one or several runs and write one HTML page into `folder`.

    Raises:
        ConfigError: No finished trial, or runs with different objectives.
        UserError: Runs whose numbers do not compare.
    """
    from analysis.page.page import build_page

    for run in runs:
        finished_rows(run)
        if run.sweep.objectives != runs[0].sweep.objectives:
            raise ConfigError(
                f"{runs[0].path} and {run.path} have different objectives "
                f"({', '.join(runs[0].sweep.objectives)}; {', '.join(run.sweep.objectives)}): "
                "report them one by one"
            )
    _make_folder(folder)
    return build_page(
        [run.path for run in runs],
        folder,
        runs[0].sweep.objectives,
        repeats=are_repeats(runs),
        progress=progress,
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):  # it may be there and hold an earlier report
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigError(
            f"cannot write the report into {folder} ({error.strerror}); take another with --out"
        ) from error


def are_repeats(runs: Sequence[Run]) -> bool:
    """Whether the runs are one sweep with different seeds: their spread is that of luck."""
    return len(runs) > 1 and len({_without_seeds(run) for run in runs}) == 1


def _without_seeds(run: Run) -> str:
    definition = run.sweep.model_dump(mode="json", exclude={"name", "resources"})
    definition["study"].pop("seed")
    definition["study"].pop("storage", None)
    definition["recipe"].pop("seed", None)
    return str(definition)


def report_folder(runs: Sequence[Run]) -> Path:
    """Return where a report goes unless told: into the run; of several, beside the first."""
    if len(runs) == 1:
        return runs[0].path / "report"
    return runs[0].path.parent / f"report-{'-'.join(run.name for run in runs)}"
