"""Tables of methods and fronts in a terminal, with a legend of their short heads."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from analysis.rows.records import records
from analysis.rows.units import display_of
from analysis.tables.methods_and_front import format_cells, header_of
from sweeps.cli.output import UNBOUNDED
from sweeps.cli.parameters import PREFIX, parameter_columns, settings, settings_text, short_name

# Searched parameters that are columns of a front's table; with any other all are one text.
AS_COLUMNS = {"layers", "temperature", "alpha", "sparsity", "bits"}
COMPARED = ("size_bytes", "accuracy_test", "accuracy_drop_test", "speedup_b1")
_TEXTS = {"method", "trial", "settings"}
_HEADS = {
    "accuracy_test": "acc, %",
    "accuracy_drop_test": "drop",
    "speedup_b1": "b1",
    "speedup_b32": "b32",
    "dominated_by": "behind",
}
_MEANINGS = {
    "size_bytes": "model files",
    "size_share": "model files over the teacher's",
    "accuracy_test": "test accuracy",
    "accuracy_drop_test": "points of test accuracy lost against the teacher",
    "speedup_b1": "speed-up at batch 1",
    "speedup_b32": "speed-up at batch 32",
}


@dataclass(frozen=True)
class Columns:
    """A table of texts by column that leaves whole columns out, the last first, if it must.

    rich would cut what is in them, and a number without its last digits is another number.
    `named` are the parameters whose short names are in the cells; `left_out` counts further rows.
    """

    cells: pd.DataFrame
    title: str
    named: tuple[str, ...] = ()
    left_out: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(width=UNBOUNDED)
        for count in range(self.cells.shape[1], 0, -1):
            table = _table(self.cells.iloc[:, :count], title=self.title)
            if Measurement.get(console, unbounded, table).minimum <= options.max_width:
                break
        yield table
        if hidden := [_head(name).split(",")[0] for name in self.cells.columns[count:]]:
            yield Text(f"  too narrow for: {', '.join(hidden)}", style="dim")
        if self.left_out:
            yield Text(f"  … and {self.left_out} more: lmopt pareto", style="dim")


def methods_table(methods: pd.DataFrame) -> Columns:
    """Return the research's table: what each method gives by itself, and the best combination."""
    return Columns(format_cells(methods), title="Methods, one by one and combined")


def front_tables(front: pd.DataFrame, *, title: str, rows: int | None = None) -> list[Columns]:
    """Return the front as tables, one for each processor type, of at most `rows` lines each."""
    if front.empty:
        return []
    if "processor" not in front:
        return [_front_table(front, title, rows)]
    groups = front.groupby("processor", sort=False, dropna=False)
    return [_front_table(group, f"{title}, {name}", rows) for name, group in groups]


def _front_table(front: pd.DataFrame, title: str, rows: int | None) -> Columns:
    """Return the front's points: a reference point by its name, a trial by its parameters.

    Up to five searched parameters are columns, as far as they fit into 80; more are one text.
    """
    shown = front if rows is None else front.head(max(rows, 1))
    params = parameter_columns(list(shown))
    # The difference to the teacher, in pairs, is the surer number: its error is the one to show.
    aside = [*params, "processor", "size_share", "accuracy_test_se"]
    numbers = format_cells(_named(shown).drop(columns=aside, errors="ignore"))
    names = numbers[["trial"]]
    numbers = numbers.drop(columns="trial")
    if {name.removeprefix(PREFIX) for name in params} <= AS_COLUMNS:
        cells = pd.concat([names, format_cells(shown[params]), numbers], axis=1)
        return Columns(cells, title, left_out=len(front) - len(shown))
    cells = pd.concat([names, _settings_cells(shown), numbers], axis=1)
    return Columns(cells, title, _settings_named(shown), len(front) - len(shown))


def compared_table(front: pd.DataFrame, *, title: str) -> Columns:
    """Return the front's points with the trial of the other run that each is behind, if one is."""
    points = _named(front)[["trial", *COMPARED, "accuracy_drop_test_se"]]
    numbers = format_cells(points)
    numbers.insert(1, "settings", _settings_cells(front)["settings"])
    behind = ["" if pd.isna(trial) else str(trial) for trial in front["dominated_by"]]
    return Columns(numbers.assign(dominated_by=behind), title, _settings_named(front))


def _named(front: pd.DataFrame) -> pd.DataFrame:
    """Return the points with a reference point's name in the place of its number."""
    trial = front["trial"].astype(object).where(front["method"].isna(), front["method"])
    return front.assign(trial=trial).drop(columns="method")


def _settings_cells(front: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"settings": [settings_text(row) for row in records(front)]})


def _settings_named(front: pd.DataFrame) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in records(front) for name in settings(row)))


def legend(tables: Sequence[Columns]) -> Text | None:
    """Return what the short heads of some tables mean, in a line; None if all heads say it."""
    columns = dict.fromkeys(
        str(name) for table in tables for name in (*table.cells.columns, *table.named)
    )
    said = [f"{head}: {meaning}" for head, meaning in _meanings(columns)]
    return Text(", ".join(said), style="dim") if said else None


def parameter_legend(columns: Sequence[str]) -> Text | None:
    """Return what the short names of searched parameters mean; None if all of them say it."""
    said = [f"{head}: {meaning}" for head, meaning in _meanings(parameter_columns(columns))]
    return Text(", ".join(said), style="dim") if said else None


def _meanings(columns: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in columns:
        head = _head(name).split(",")[0]
        if name.startswith(PREFIX) and head != (meaning := display_of(name).label):
            yield head, meaning
        elif name in _MEANINGS:
            yield head, _MEANINGS[name]


def _head(column: str) -> str:
    if column.startswith(PREFIX):
        return short_name(column)
    return _HEADS.get(column) or header_of(column)


def _table(cells: pd.DataFrame, *, title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in cells:
        justify: JustifyMethod = "left" if name in _TEXTS else "right"
        is_long = name == "settings"  # only it may take several lines
        texts = [_head(str(name)), *map(str, cells[name])]
        parts = [part for text in texts for part in (text.split() if is_long else [text])]
        table.add_column(
            texts[0], justify=justify, overflow="fold", no_wrap=not is_long,
            min_width=max(map(cell_len, parts)),
        )  # fmt: skip
    for values in cells.itertuples(index=False):
        table.add_row(*(str(value) for value in values))
    return table
