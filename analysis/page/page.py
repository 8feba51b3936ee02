"""The report of one or several runs: one HTML page that needs nothing else, and its figures."""

import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.errors import UserError
from analysis.page.notebooks import notebook_paths, run_notebook, why_failed
from analysis.page.summary import Summary, summarize
from analysis.selection.runs import front_parts, load_runs, processor_note, why_not_comparable
from analysis.tables.methods_and_front import NOTE, format_table
from analysis.tables.picks import picks_table

ASIDE = "interactive"  # the tag of cells for those who open the notebook itself
TEMPLATE = Path(__file__).parent / "page.html.j2"


@dataclass(frozen=True)
class Page:
    """A written report: the page, its figures, and the notebooks that failed with their reasons."""

    path: Path
    figures: list[Path]
    failures: dict[str, str]


@dataclass(frozen=True)
class _Answer:
    """The top of the page for one front."""

    label: str
    summary: Summary
    export: str
    picks: str


def build_page(
    runs: Sequence[Path],
    folder: Path,
    objectives: Mapping[str, str],
    *,
    repeats: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Page:
    """Run the notebooks on `runs` and write `folder`/index.html and `folder`/figures.

    A notebook that fails is named on the page with its reason; the others and the answer stay.

    Args:
        repeats: Whether the runs differ in their seeds only; then their spread is shown.
        progress: Called with the name of each notebook before it runs.

    Raises:
        UserError: No rows at a path, or runs whose numbers do not compare.
    """
    paths = [Path(run).resolve() for run in runs]
    rows = load_runs(paths)
    if reason := why_not_comparable(rows):
        raise UserError(reason)
    figures = folder / "figures"
    shutil.rmtree(figures, ignore_errors=True)  # of an earlier report: names may have changed
    figures.mkdir(parents=True)
    parameters = {
        "runs": [str(path) for path in paths],
        "objectives": dict(objectives),
        "figures": str(figures),
        "repeats": repeats,
    }
    sections, failures = [], {}
    for notebook in notebook_paths():
        progress(notebook.stem)
        body, reason = _section(notebook, parameters, folder)
        sections.append({"name": notebook.stem, "body": body, "failed": reason})
        if reason:
            failures[notebook.stem] = reason
    places = dict(zip(rows, paths, strict=True))
    answers = [
        _answer(label, part, objectives, places.get(label.split(", ")[0], paths[0]))
        for label, part in front_parts(rows, objectives).items()
    ]
    path = folder / "index.html"
    text = _render(
        title=", ".join(rows),
        answers=answers,
        places=places,
        note=NOTE,
        warning=processor_note(rows, objectives),
        sections=sections,
    )
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return Page(path, sorted(figures.iterdir()), failures)


def _section(path: Path, parameters: Mapping[str, Any], folder: Path) -> tuple[str, str | None]:
    """Return an executed notebook as HTML, and why it failed; keep the notebook beside the page."""
    import nbformat

    try:
        notebook = run_notebook(path, parameters)
    except Exception as error:  # whatever ends a kernel: the rest of the report must stand
        return "", why_failed(error)
    (folder / path.name).write_text(nbformat.writes(notebook), encoding="utf-8")
    return notebook_html(notebook), None


def notebook_html(notebook: Any) -> str:
    """Return text and outputs of a notebook as HTML, without its code and its instructions."""
    from nbconvert import HTMLExporter
    from nbformat import from_dict

    read = [cell for cell in notebook.cells if ASIDE not in cell.metadata.get("tags", [])]
    notebook = {**notebook, "cells": read}
    exporter = HTMLExporter(template_name="basic")
    exporter.exclude_input = True
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.exclude_anchor_links = True
    return _unbroken(str(exporter.from_notebook_node(from_dict(notebook))[0]))


def _unbroken(html: str) -> str:
    """Keep each number of a table in one line with its unit and its error."""
    return html.replace(" ± ", "&nbsp;±&nbsp;").replace(" %<", "&nbsp;%<")


def _answer(label: str, rows: Any, objectives: Mapping[str, str], place: Path) -> _Answer:
    summary = summarize(rows, objectives)
    run = place.parent if place.suffix == ".parquet" else place
    export = f"lmopt export {shlex.quote(str(run))} winner --trial {summary.trial}"
    picks = picks_table(rows, objectives)
    html = _unbroken(format_table(picks).to_html(index=False, border=0, justify="left"))
    return _Answer(label, summary, export, html if len(picks) else "")


def _render(**values: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(**values)
