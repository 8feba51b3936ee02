"""What the dashboard says of one trial: a note of its key numbers, and its row as text."""

import os
import warnings
from collections.abc import Mapping
from typing import Any

from pandas import isna
from pandas.api.types import is_scalar

from analysis.rows.schema import BATCHES, COLUMNS
from analysis.rows.table import final_attempts, load_results
from analysis.rows.units import format_value
from analysis.tables.methods_and_front import why_rough
from slurm.states import log_paths
from sweeps.definition.errors import ConfigError
from sweeps.run import claims
from sweeps.run.claims import Claim
from sweeps.run.directory import Run

Row = Mapping[str, Any]
UNITS = {column.name: column.unit for column in COLUMNS}


def note(run: Run, claim: Claim, values: Row | None) -> str:
    """Return a trial's note as Markdown: what it is, its numbers or its error, its row and log."""
    lines = [f"**{_title(claim)}**, attempt {claim.attempt}", ""]
    if values is None:
        lines.append(f"- running as job {claim.job_id}")
    elif values["state"] == "COMPLETE":
        lines += [f"- {text}" for text in _numbers(values)]
    else:
        lines.append(f"- {str(values['state']).lower()}: {present(values, 'error') or 'no reason'}")
    if values is not None:
        path = run.row_path(claim.number, int(values["attempt"])).relative_to(run.path)
        lines.append(f"- [row](/lmopt/row/{claim.number}): `{path}`")
    log = os.path.relpath(log_paths(claim.job_id, run.jobs)[1], run.path)
    lines.append(f"- [log](/lmopt/log/{claim.number}): `{log}`")
    return "\n".join(lines)


def row_text(run: Run, number: int) -> str:
    """Return the row that settles a trial, a line for each column that has a value.

    Raises:
        ConfigError: It has no row (yet).
    """
    values = final_rows(run).get(number)
    if values is None:
        state = "is running" if claims.newest(run, number) else "has not started"
        raise ConfigError(f"trial {number} of {run.path} {state}: it has no row yet")
    known = {name: value for name in values if (value := present(values, name)) is not None}
    width = max(map(len, known))
    lines = [f"{name:<{width}}  {value} {UNITS.get(name, '')}" for name, value in known.items()]
    return "\n".join(line.rstrip() for line in lines)


def final_rows(run: Run) -> dict[int, Row]:
    """Return the row that settles each trial, by its number, with what was timed anew."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a row being replaced this moment
        rows = final_attempts(load_results(run.path))
    records = rows[rows["trial"].notna()].to_dict("records")
    return {int(r["trial"]): {str(name): value for name, value in r.items()} for r in records}


def _title(claim: Claim) -> str:
    if claim.reference is not None:
        return f"reference point: {claim.reference}"
    return ", ".join(f"{name} {format_value(name, value)}" for name, value in claim.params.items())


def _numbers(values: Row) -> list[str]:
    def shown(name: str, error: str = "") -> str:
        return format_value(name, present(values, name), present(values, error))

    lines = [
        f"test accuracy {shown('accuracy_test', 'accuracy_test_se')} %",
        f"drop {shown('accuracy_drop_test', 'accuracy_drop_test_se')} points, in pairs",
        f"size {shown('size_bytes')} MB, {shown('size_ratio')} smaller than the teacher",
    ]
    for batch in BATCHES:
        ends = [shown(f"speedup_{batch}_{end}") for end in ("low", "high")]
        lines.append(f"speed-up at batch {batch[1:]}: {shown(f'speedup_{batch}')} "
                     f"(95 % interval {ends[0]} to {ends[1]})")  # fmt: skip
    if why := why_rough(values):
        lines.append(f"take its speed as rough: {why}")
    return lines


def present(values: Row, name: str) -> Any:
    """Return a value of a row read by pandas; None where there is none."""
    value = values.get(name)
    return None if value is None or (is_scalar(value) and isna(value)) else value
