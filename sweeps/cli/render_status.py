"""How a run looks in a terminal: its status, its workers, and a line for each finished trial."""

from collections.abc import Sequence
from datetime import timedelta

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from analysis.rows.records import Row
from analysis.rows.units import format_value
from slurm.states import LIVE
from sweeps.cli.parameters import settings_text
from sweeps.cli.render_tables import front_tables, legend
from sweeps.report.feasibility import Feasibility
from sweeps.report.status import Status
from sweeps.run.progress import Progress

SAME_CORE_HOURS = 0.05  # records lag by seconds, and sacct counts whole ones
LABEL = 44  # columns of what was done, after the trial's number: 79 in all
# Over the lines of `trial_line`: the search sees validation; the tables of a report show test.
TRIAL_HEADER = f"{'trial':<{LABEL + 4}} {'validation':>7} {'size':>7} {'b1':>10}"
SPARKS = "▁▂▃▄▅▆▇█"
SHOWN_CAUSES = 3  # of trials without a result
STATE_STYLES = {
    "COMPLETE": "green", "RUNNING": "cyan", "WAITING": "dim", "FAIL": "red", "LOST": "yellow",
    "PRUNED": "dim",
}  # fmt: skip


def status_view(status: Status, *, front_rows: int | None = None) -> RenderableType:
    """Return a whole status: what is done, who works, the front so far (its first rows)."""
    parts: list[RenderableType] = [headline(status), bar(status.done, status.budget)]
    parts += cause_lines(status)
    parts += [worker_line(progress) for progress in status.working]
    if line := accounting_line(status):
        parts.append(line)
    if status.error:
        needs_you = bool(status.jobs.get("HELD"))  # it goes on when somebody releases the job
        parts.append(Text(f"{'needs you' if needs_you else 'stopped'}: {status.error}", "red"))
    if status.warning:
        parts.append(Text(status.warning, "yellow"))
    title = "Front (test split)" if status.finished else "Front so far (test split)"
    tables = front_tables(pd.DataFrame(status.front), title=title, rows=front_rows)
    parts += [*tables, *filter(None, [legend(tables)])]
    if status.feasibility:
        parts += feasibility_lines(status.feasibility)
    parts.append(volume_line(status))
    return Group(*parts)


def feasibility_lines(found: Feasibility) -> list[Text]:
    """Return how many models meet the constraints; the nearest ones where none does."""
    return [Text(line, "" if found.feasible else "yellow") for line in found.lines()]


def cause_lines(status: Status) -> list[Text]:
    """Return the commonest reasons of trials without a result, a line each."""
    lines = []
    for cause in status.causes[:SHOWN_CAUSES]:
        line = Text(f"{cause.trials} {cause.state.lower()}: ", STATE_STYLES[cause.state])
        lines.append(line.append(cause.error, style="dim"))
    if more := sum(cause.trials for cause in status.causes[SHOWN_CAUSES:]):
        lines.append(Text(f"{more} more for other reasons: 'lmopt logs' says which", style="dim"))
    return lines


def volume_line(status: Status, width: int = 40) -> Text:
    """Return the hypervolume with its way there, one mark for an equal share of the trials."""
    line = Text("hypervolume ")
    if len(status.hypervolume_history) > 1:
        line.append(sparkline(status.hypervolume_history, width), style="green").append(" ")
    return line.append(f"{status.hypervolume:.4f} of 1")


def sparkline(values: Sequence[float], width: int) -> str:
    """Return values as bars of eight heights from the lowest to the highest, at most `width`."""
    if len(values) > width:  # the last of each share, so that the line ends where the values do
        values = [values[(index + 1) * len(values) // width - 1] for index in range(width)]
    low, span = min(values), max(values) - min(values)
    tops = len(SPARKS) - 1
    return "".join(SPARKS[round(tops * (v - low) / span) if span else 0] for v in values)


def bar(done: int, total: int, width: int = 60) -> Text:
    """Return a progress bar that is one even without colour."""
    filled = round(width * done / max(1, total))
    return Text("█" * filled, style="green").append("░" * (width - filled), style="dim")


def accounting_line(status: Status) -> Text | None:
    """Return a warning where Slurm's accounting says something else than the jobs' own records."""
    own, slurm = status.core_hours_allocated, status.core_hours_sacct
    if slurm is None or abs(own - slurm) <= SAME_CORE_HOURS * max(own, slurm) + 0.05:
        return None
    return Text(f"sacct says {slurm:.2f} core-hours, the jobs' records {own:.2f}", "yellow")


def headline(status: Status) -> Text:
    """Return trials by state, time used and left, core-hours."""
    line = Text(f"{status.done}/{status.budget} trials", style="bold")
    for state, count in status.trials.items():
        if count:
            line.append(f"  {count} {state.lower()}", style=STATE_STYLES[state])
    line.append(f"\n{duration(status.seconds_elapsed)} used")
    if not status.finished and status.seconds_left is not None:
        # Nothing is left but the finalizer's work: the front's timing, the report.
        ends = status.seconds_left == 0 and status.error is None
        line.append(", finishing" if ends else f", about {duration(status.seconds_left)} left")
    line.append(f"  {status.core_hours_allocated:.2f} core-hours", style="dim")
    if working := len(status.working):
        line.append(f", {working} worker{'s' if working > 1 else ''}", style="dim")
    if status.busy_share is not None:
        line.append(f", {100 * status.busy_share:.0f} % of it in trials", style="dim")
    if queued := [f"{n} {s.lower()}" for s in LIVE if (n := status.jobs.get(s))]:
        line.append(f"\njobs: {', '.join(queued)}")
    return line


def worker_line(progress: Progress) -> Text:
    """Return what one worker does."""
    what = progress.kind if progress.trial is None else f"trial {progress.trial}"
    share = "" if progress.fraction is None else f" {100 * progress.fraction:3.0f} %"
    seconds = duration(max(0.0, progress.updated - progress.since))
    return Text(f"  {what:<10} {progress.stage:<16}{share:>6}  {seconds}", style="cyan")


def trial_line(row: Row) -> Text:
    """Return one finished attempt as a line, as it appears during a run."""
    label: str = settings_text(row) if pd.isna(row["method"]) else str(row["method"])
    number: str = "   " if pd.isna(row["trial"]) else f"{int(row['trial']):3d}"
    line = Text(f"{number} ")
    if row["state"] != "COMPLETE":
        return line.append(f"{label}  {row['state'].lower()}: {row['error']}", style="red")
    line.append(f"{label if len(label) <= LABEL else label[: LABEL - 1] + '…':<{LABEL}}")
    line.append(f" {100 * row['accuracy_validation']:5.1f} %", style="bold")
    line.append(f" {format_value('size_bytes', row['size_bytes']):>7} MB")
    speed = row.get("speedup_b1")
    return line if speed is None or pd.isna(speed) else line.append(f" {speed:6.1f}×")


def duration(seconds: float) -> str:
    """Return a time as people write it: 45 s, 3:20 min, 2:05 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{timedelta(minutes=minutes) // timedelta(hours=1)}:{minutes % 60:02d} h"
