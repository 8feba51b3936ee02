"""How a run looks in a terminal: tables, status, live progress. Plain text when piped."""

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from analysis.report import format_table
from sweeps.progress import Progress
from sweeps.status import Status

PARAMETER_HEADERS = {"temperature": "T", "alpha": "α", "sparsity": "sparse", "layers": "layers"}
STATE_STYLES = {
    "COMPLETE": "green", "RUNNING": "cyan", "WAITING": "dim", "FAIL": "red", "LOST": "yellow",
    "PRUNED": "dim",
}  # fmt: skip


def frame_table(frame: pd.DataFrame, *, title: str) -> Table:
    """Return a frame of numbers as a table for people; parameters get short headers."""
    text = format_table(frame)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in text:
        header = PARAMETER_HEADERS.get(str(name), str(name))
        is_text = name == "method"
        table.add_column(header, justify="left" if is_text else "right", no_wrap=not is_text)
    for values in text.itertuples(index=False):
        table.add_row(*(str(value) for value in values))
    return table


def status_view(status: Status, *, width: int = 80) -> RenderableType:
    """Return a whole status: what is done, who works, the front so far."""
    parts: list[RenderableType] = [headline(status), ProgressBar(
        total=max(1, status.budget), completed=status.done, width=min(width, 80)
    )]  # fmt: skip
    parts += [worker_line(progress) for progress in status.working]
    if status.error:
        parts.append(Text(f"stopped: {status.error}", style="red"))
    if status.front:
        parts.append(frame_table(pd.DataFrame(status.front), title="Front so far (test split)"))
    parts.append(Text(f"hypervolume {status.hypervolume:.4f} of 1", style="dim"))
    return Group(*parts)


def headline(status: Status) -> Text:
    """Return trials by state, time used and left, core-hours."""
    line = Text(f"{status.done}/{status.budget} trials", style="bold")
    for state, count in status.trials.items():
        if count:
            line.append(f"  {count} {state.lower()}", style=STATE_STYLES[state])
    line.append(f"  {duration(status.seconds_elapsed)} used")
    if not status.finished and status.seconds_left is not None:
        line.append(f", about {duration(status.seconds_left)} left")
    return line.append(f"  {status.core_hours:.2f} core-hours", style="dim")


def worker_line(progress: Progress) -> Text:
    """Return what one worker does."""
    what = progress.kind if progress.trial is None else f"trial {progress.trial}"
    share = "" if progress.fraction is None else f" {100 * progress.fraction:3.0f} %"
    seconds = duration(max(0.0, progress.updated - progress.since))
    return Text(f"  {what:<10} {progress.stage:<16}{share:>6}  {seconds}", style="cyan")


def trial_line(row: Mapping[str, Any], columns: Sequence[str]) -> Text:
    """Return one finished attempt as a line, as it appears during a run."""
    label = row.get("method") or " ".join(_parameters(row, columns))
    number = "   " if pd.isna(row["trial"]) else f"{int(row['trial']):3d}"
    line = Text(f"{number} ")
    if row["state"] != "COMPLETE":
        return line.append(f"{label}  {row['state'].lower()}: {row['error']}", style="red")
    line.append(f"{label:<38.38}")
    line.append(f" {100 * row['accuracy_validation']:5.1f} %", style="bold")
    line.append(f" {row['size_bytes'] / 1e6:7.2f} MB")
    speed = row.get("speedup_b1")
    return line if speed is None or pd.isna(speed) else line.append(f" {speed:6.1f}×")


def _parameters(row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    shown = []
    for column in columns:
        value = row.get(column)
        if value is not None and not (isinstance(value, float) and math.isnan(value)):
            name = column.removeprefix("param_")
            text = f"{value:.3g}" if isinstance(value, float) else str(value)
            shown.append(f"{PARAMETER_HEADERS.get(name, name)} {text}")
    return shown


def duration(seconds: float) -> str:
    """Return a time as people write it: 45 s, 3:20 min, 2:05 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{timedelta(minutes=minutes) // timedelta(hours=1)}:{minutes % 60:02d} h"


def console(*, stderr: bool = False) -> Console:
    """Return the terminal; rich leaves colour out when piped or with NO_COLOR."""
    return Console(stderr=stderr, highlight=False, soft_wrap=False)
