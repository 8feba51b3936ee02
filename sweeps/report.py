"""The tables and the figure of a run, for the terminal and for its `report/` folder."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from analysis.report import NOTE, front_table, method_table, to_records
from analysis.results import load_results
from sweeps.config import ConfigError
from sweeps.display import front_view, methods_view
from sweeps.run import Run, write_json


@dataclass(frozen=True)
class Report:
    """What `lmopt pareto` shows."""

    methods: pd.DataFrame
    front: pd.DataFrame
    results: Path
    figures: list[Path]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        return {
            "methods": to_records(self.methods),
            "front": to_records(self.front),
            "results": str(self.results),
            "figures": [str(path) for path in self.figures],
            "note": NOTE,
        }


def pareto_report(run: Run, stem: Path | None = None) -> Report:
    """Build the tables of a run and draw its figure.

    Raises:
        ConfigError: No trial has finished yet.
    """
    from analysis.figures import front_figure, save_figure

    rows = load_results(run.path)
    if not (rows["state"].eq("COMPLETE") & rows["kind"].ne("linear")).any():
        raise ConfigError(f"{run.path} has no finished trial yet; see 'lmopt status {run.path}'")
    objectives = run.sweep.objectives
    stem = stem or run.path / "report" / "pareto_front"
    stem.parent.mkdir(parents=True, exist_ok=True)
    figures = save_figure(front_figure(rows, objectives), stem)
    compacted = run.path / "results.parquet"
    return Report(
        methods=method_table(rows, objectives),
        front=front_table(rows, objectives),
        results=compacted if compacted.exists() else run.rows,
        figures=figures,
    )


def write_report(run: Run) -> None:
    """Write the figure and the tables into the run's `report/` folder."""
    report = pareto_report(run)
    write_json(run.path / "report" / "tables.json", report.to_json())


def print_report(report: Report, console: Console) -> None:
    """Print the method table, the front and where the files are."""
    console.print(methods_view(report.methods))
    console.print(front_view(report.front, title="Pareto front"))
    console.print(Text(NOTE, style="dim"))
    for note in report.methods.loc[report.methods["note"].notna()].to_dict("records"):
        console.print(Text(f"{note['method']}: {note['note']}", style="dim"))
    for path in (report.results, *report.figures):
        console.print(os.path.relpath(path), soft_wrap=True)
