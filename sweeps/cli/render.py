"""How a run looks in a terminal: tables, status, live progress. Plain text when piped."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, JustifyMethod, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from analysis.rows.recipes import has_effect, is_off, recipe_of, records
from analysis.rows.units import format_value
from analysis.tables.methods_and_front import format_table
from slurm.states import LIVE
from sweeps.report.status import Status
from sweeps.run.progress import Progress

# Short, so that a table of five searched parameters fits into 80 columns; in the order shown.
HEADERS = {
    "layers": "lay",
    "hidden_size": "width",
    "static_width": "width",
    "clusters": "clus",
    "embedding_clusters": "emb clus",
    "temperature": "T",
    "alpha": "α",
    "sparsity": "spar",
    "bits": "bits",
    "token_dropout": "tok drop",
    "vocabulary_min_count": "vocab",
    "embedding_rank": "rank",
    "ffn_keep": "FFN",
    "heads_keep": "heads",
    "embedding_bits": "emb",
    "number_format": "format",
    "activation_bits": "act",
    "learning_rate": "lr",
    "train_examples": "examples",
    "accuracy, %": "acc, %",
    "drop, points": "drop",
    "speed b1": "b1",
    "speed b32": "b32",
}
PARAMETERS = ("layers", "temperature", "alpha", "sparsity", "bits")
COMPARED = ("size_bytes", "accuracy_test", "accuracy_drop_test", "speedup_b1")
SAME_CORE_HOURS = 0.05  # records lag by seconds, and sacct counts whole ones
LABEL = 44  # columns of what was done, after the trial's number: 79 in all
# Over the lines of `trial_line`: the search sees validation; the tables of a report show test.
TRIAL_HEADER = f"{'trial':<{LABEL + 4}} {'validation':>7} {'size':>7} {'b1':>10}"
UNBOUNDED = 10_000  # columns
SHOWN_CAUSES = 3  # of trials without a result
SPARKS = "▁▂▃▄▅▆▇█"
STATE_STYLES = {
    "COMPLETE": "green", "RUNNING": "cyan", "WAITING": "dim", "FAIL": "red", "LOST": "yellow",
    "PRUNED": "dim",
}  # fmt: skip


def methods_view(methods: pd.DataFrame) -> RenderableType:
    """Return the research's table: what each method gives by itself, and the best combination."""
    return _Columns(format_table(methods), title="Methods, one by one and combined")


def front_views(
    front: pd.DataFrame, *, title: str, rows: int | None = None
) -> list[RenderableType]:
    """Return the front as tables, one for each processor type, of at most `rows` lines each."""
    if "processor" not in front:
        return [*_cut(front, title, rows)]
    groups = front.groupby("processor", sort=False, dropna=False)
    parts = [_cut(group, f"{title}, {name}", rows) for name, group in groups]
    return [view for part in parts for view in part]


def _cut(front: pd.DataFrame, title: str, rows: int | None) -> Iterator[RenderableType]:
    shown = front if rows is None else front.head(max(rows, 1))
    yield front_view(shown, title=title)
    if len(shown) < len(front):
        yield Text(f"  … and {len(front) - len(shown)} more: lmopt pareto", style="dim")


def compared_view(front: pd.DataFrame, *, title: str) -> RenderableType:
    """Return the front's points with the trial of the other run that each is behind, if one is."""
    table = front.assign(settings=[_settings(row) for row in records(front)])
    text = format_table(table[["trial", "method", "settings", *COMPARED]])
    text["trial"] = text["method"].where(front["method"].notna().to_numpy(), text["trial"])
    text["accuracy, %"] = text["accuracy, %"].str.split(" ± ").str[0]
    behind = front["dominated_by"]
    text["behind"] = ["" if pd.isna(trial) else str(trial) for trial in behind]
    return _Columns(text.drop(columns="method"), title=title)


def _settings(row: Mapping[str, Any]) -> str:
    params = [name for name in row if str(name).startswith("param_")]
    return " ".join(_parameters(row, params))


def front_view(front: pd.DataFrame, *, title: str) -> RenderableType:
    """Return the front's points: a reference point by its name, a trial by its parameters.

    Up to five searched parameters are columns, as far as they fit into 80; more are one text.
    """
    params = _ordered([str(name) for name in front if str(name).startswith("param_")])
    text = format_table(front.drop(columns=[*params, "processor"], errors="ignore"))
    named = front["method"].notna().to_numpy()
    text["trial"] = text["method"].where(named, text["trial"])
    # The difference to the teacher, in pairs, is the surer number: its error is the one to show.
    text["accuracy, %"] = text["accuracy, %"].str.split(" ± ").str[0]
    text = text.drop(columns=["method", "size"])
    if {name.removeprefix("param_") for name in params} <= set(PARAMETERS):
        settings = format_table(front[params])
    else:
        settings = pd.DataFrame({"settings": [_settings(row) for row in records(front)]})
    numbers = text.drop(columns="trial")
    return _Columns(pd.concat([text[["trial"]], settings, numbers], axis=1), title=title)


def _ordered(params: Sequence[str]) -> list[str]:
    """The parameters, those with a short header first, in its order."""
    order = [f"param_{name}" for name in HEADERS]
    return sorted(params, key=lambda name: order.index(name) if name in order else len(order))


@dataclass(frozen=True)
class _Columns:
    """A table that leaves whole columns out, the last ones first, where the terminal is narrow.

    rich would cut what is in them, and a number without its last digits is another number.
    """

    text: pd.DataFrame
    title: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(width=UNBOUNDED)
        for count in range(self.text.shape[1], 0, -1):
            table = _table(self.text.iloc[:, :count], title=self.title)
            if Measurement.get(console, unbounded, table).minimum <= options.max_width:
                break
        yield table
        if left_out := [_header(name).split(",")[0] for name in self.text.columns[count:]]:
            yield Text(f"  too narrow for: {', '.join(left_out)}", style="dim")


def _header(name: object) -> str:
    return HEADERS.get(str(name), str(name))


def _table(text: pd.DataFrame, *, title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in text:
        is_text = name in ("method", "trial", "settings")
        justify: JustifyMethod = "left" if is_text else "right"
        is_long = name == "settings"  # only it may take several lines
        cells = [_header(name), *map(str, text[name])]
        parts = [part for cell in cells for part in (cell.split() if is_long else [cell])]
        width = max(map(cell_len, parts))
        table.add_column(
            _header(name), justify=justify, overflow="fold", no_wrap=not is_long, min_width=width
        )
    for values in text.itertuples(index=False):
        table.add_row(*(str(value) for value in values))
    return table


def status_view(status: Status, *, front_rows: int | None = None) -> RenderableType:
    """Return a whole status: what is done, who works, the front so far (its first rows)."""
    parts: list[RenderableType] = [headline(status), bar(status.done, status.budget)]
    parts += [worker_line(progress) for progress in status.working]
    if line := accounting_line(status):
        parts.append(line)
    parts += cause_lines(status)
    if status.error:
        needs_you = bool(status.jobs.get("HELD"))  # it goes on when somebody releases the job
        parts.append(Text(f"{'needs you' if needs_you else 'stopped'}: {status.error}", "red"))
    if status.warning:
        parts.append(Text(status.warning, "yellow"))
    if status.front:
        front = pd.DataFrame(status.front)
        title = "Front (test split)" if status.finished else "Front so far (test split)"
        parts += front_views(front, title=title, rows=front_rows)
    parts.append(volume_line(status))
    return Group(*parts)


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


def trial_line(row: Mapping[str, Any], columns: Sequence[str]) -> Text:
    """Return one finished attempt as a line, as it appears during a run."""
    label = " ".join(_parameters(row, columns)) if pd.isna(row["method"]) else row["method"]
    number = "   " if pd.isna(row["trial"]) else f"{int(row['trial']):3d}"
    line = Text(f"{number} ")
    if row["state"] != "COMPLETE":
        return line.append(f"{label}  {row['state'].lower()}: {row['error']}", style="red")
    line.append(f"{label if len(label) <= LABEL else label[: LABEL - 1] + '…':<{LABEL}}")
    line.append(f" {100 * row['accuracy_validation']:5.1f} %", style="bold")
    line.append(f" {format_value('size_bytes', row['size_bytes']):>7} MB")
    speed = row.get("speedup_b1")
    return line if speed is None or pd.isna(speed) else line.append(f" {speed:6.1f}×")


def _parameters(row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """What was varied and is done, such as "lay 2 bits 4"; what is off where nothing else is."""
    recipe, done, off = recipe_of(row), list[str](), list[str]()
    for column in _ordered(columns):
        value, name = row.get(column), column.removeprefix("param_")
        if value is not None and not pd.isna(value) and has_effect(name, value, recipe):
            text = f"{value:.3g}" if isinstance(value, float) else str(value)
            shown = off if is_off(name, value) else done
            shown.append(f"{HEADERS.get(name, name)} {text}")
    return done or off


def duration(seconds: float) -> str:
    """Return a time as people write it: 45 s, 3:20 min, 2:05 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{timedelta(minutes=minutes) // timedelta(hours=1)}:{minutes % 60:02d} h"


def console(*, stderr: bool = False) -> Console:
    """Return the terminal; rich leaves colour out when piped or with NO_COLOR.

    What is piped is as wide as it needs: only a screen has an edge.
    """
    is_screen = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if is_screen else UNBOUNDED
    return Console(stderr=stderr, highlight=False, soft_wrap=False, width=width)
