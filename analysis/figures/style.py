"""The look of all figures: frame, note, axes, and series that differ in a grey print too."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from analysis.rows.units import display_of

INK, SOFT = "0.15", "0.4"
NOTE_PT = 6.5
LINE_IN = 0.125  # height of a line of the note
KINDS = ("png", "svg", "pdf")
THEME: Any = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper"),
    "axes.grid": True,
    "grid.color": "0.93",
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
# Okabe and Ito's colours as seaborn has them; line and marker say the same without colour.
SERIES = [
    {"color": colour, "ls": line, "marker": marker}
    for colour, line, marker in zip(
        [INK, *sns.color_palette("colorblind", 6)],
        ["-", (0, (5, 2)), (0, (1, 1.5)), "-.", (0, (7, 2, 1, 2, 1, 2)), (0, (3, 3)), (0, (9, 3))],
        ["o", "s", "D", "^", "v", "P", "X"],
        strict=True,
    )
]


def series(index: int) -> dict[str, Any]:
    """Return colour, line style and marker of the `index`-th of several compared things."""
    return dict(SERIES[index % len(SERIES)])


def new_figure(
    shape: tuple[int, int], panel_in: tuple[float, float], *, note: str, **subplots: Any
) -> tuple[Figure, NDArray[np.object_]]:
    """Return an empty figure of (rows, columns) panels with a note below.

    The caller holds `mpl.rc_context(THEME)`.
    """
    width = max(shape[1] * panel_in[0], 3.4)
    lines = wrap_note(note, width)
    below = LINE_IN * len(lines) + 0.12
    height = shape[0] * panel_in[1] + below
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, below / height, 1, 1 - below / height), w_pad=0.06, h_pad=0.06)  # type: ignore[call-arg]
    write_note(figure, lines)
    return figure, figure.subplots(*shape, squeeze=False, **subplots)


def wrap_note(note: str, width_in: float) -> list[str]:
    """Return the note in lines that fit a figure of this width."""
    return textwrap.wrap(note, int(20 * width_in))


def write_note(figure: Figure, lines: Sequence[str]) -> None:
    """Write the note into the figure's lower left corner."""
    width, height = figure.get_size_inches()
    at = (0.1 / width, 0.08 / height)
    figure.text(*at, "\n".join(lines), fontsize=NOTE_PT, color=SOFT, va="bottom", linespacing=1.25)


def log_axis(ax: Axes, which: str, low: float, high: float, *, most: int = 30) -> None:
    """Scale the "x" or "y" axis in logs from `low` to `high`, with `most` plain numbers or fewer.

    Decades are numbered in any case.
    """
    ax.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})  # type: ignore[arg-type]
    axis = ax.xaxis if which == "x" else ax.yaxis
    decades = np.log10(high / low)
    subs: tuple[float, ...] = (1, 1.5, *range(2, 10))
    for coarser, up_to in (((1, 2, 5), 0.7), ((1, 3), 3.0), ((1,), 3.0)):
        if decades > up_to or _ticks(subs, low, high) > most:
            subs = coarser
    axis.set_major_locator(LogLocator(subs=subs, numticks=30))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _ticks(subs: Sequence[float], low: float, high: float) -> int:
    exponents = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return sum(low <= sub * 10.0**exponent <= high for exponent in exponents for sub in subs)


def scale_axis(ax: Axes, which: str, name: str, values: Any) -> None:
    """Label the "x" or "y" axis as the column `name`, in logs where it is read in ratios."""
    shown = display_of(name)
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_label_text(shown.axis_label)
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known) & (known > 0)]
    if shown.log and len(known):
        low, high = float(known.min()), float(known.max())
        pad = max((high / low) ** 0.08, 1.4 if high / low < 2 else 1.0)
        log_axis(ax, which, low / pad, high * pad)


def short_label(name: str, rows: pd.DataFrame | None = None, *, with_unit: bool = True) -> str:
    """Return a column's label in lines that fit beside a small panel."""
    shown = display_of(name, rows)
    label = shown.label.replace(" over the fp32 teacher", "")
    label = f"{label[0].upper()}{label[1:]}" + (
        f" ({shown.unit})" if shown.unit and with_unit else ""
    )
    return textwrap.fill(label, 14)


def empty_panel(ax: Axes, text: str) -> None:
    """Say in a panel why it shows nothing."""
    ax.set(xticks=[], yticks=[])
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=SOFT)


def mark(label: str, marker: str, **look: Any) -> Line2D:
    """Return a legend's entry for markers."""
    outline = {"markeredgecolor": INK, "markeredgewidth": 0.6}
    return Line2D(
        [], [], label=label, marker=marker, **{"linestyle": "", "markersize": 6, **outline, **look}
    )


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png (200 dpi), .svg and .pdf, each under a temporary name first."""
    paths = []
    for kind in KINDS:
        path = Path(stem).with_name(f"{Path(stem).name}.{kind}")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        with mpl.rc_context({"pdf.fonttype": 42}):  # journals refuse Type 3 fonts
            figure.savefig(temporary, dpi=200, format=kind)
        paths.append(temporary.replace(path))
    return paths


def keep_figure(figure: Figure, name: str, folder: str | Path | None) -> Figure:
    """Write the figure's files into `folder` if there is one; return the figure to be shown."""
    if folder:
        save_figure(figure, Path(folder) / name)
    return figure


def freeze_layout(figure: Figure) -> None:
    """Lay the figure out for good: places of labels are looked for in pixels."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
