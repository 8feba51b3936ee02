"""The figure of a sweep: quality against each cost, with the Pareto front."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.errors import UserError
from analysis.figures.labels import Label, place_labels
from analysis.figures.points import (
    BEST,
    BITS,
    CODEBOOK,
    figure_points,
    linear_label,
    linear_quality,
    panel_points,
    quality_limits,
)
from analysis.figures.style import INK, LINE_IN, SOFT, THEME, log_axis, mark, wrap_note, write_note
from analysis.rows.table import final_attempts
from analysis.rows.units import display_of
from analysis.selection.objectives import quality_objective, reported
from analysis.selection.processors import main_processor

_PANEL_IN, _HEIGHT_IN, _LEFT_IN = 3.7, 2.75, 0.76  # of the axes; beside them "100.0"
_LEGEND_ROW_IN = 0.22
_MARKERS = dict(zip(BITS, ["o", "s", "D", "^", "P", "X", "v", "."], strict=True))
_CODEBOOK_COLOUR = sns.color_palette("colorblind")[3]  # none of the scale of bit-widths
_COLOURS = dict(
    zip(
        BITS,
        [*sns.color_palette("viridis", 6), _CODEBOOK_COLOUR, (0.5, 0.5, 0.5)],
        strict=True,
    )
)


def front_figure(
    rows: pd.DataFrame, objectives: Mapping[str, str], *, title: str | None = None
) -> Figure:
    """Draw one panel for each objective beside quality, with the front and the reference points.

    A panel's line is the front of its two objectives on validation, drawn at the test values of
    its points; it need not be monotone. Bars are 95 % intervals.

    Args:
        rows: Attempts as `read_rows` gives them.
        objectives: "maximize" or "minimize" by column.
        title: Text above the panels.

    Raises:
        UserError: An objective is not a column, or fewer than two are given.
    """
    quality = quality_objective(objectives)
    names = [name for name in objectives if name != quality]
    if not names:
        raise UserError(f"a figure needs two objectives, got only {quality!r}")
    rows = main_processor(rows, objectives)
    points, linear = figure_points(rows, objectives), linear_quality(rows, quality)
    limits = quality_limits(points, linear, display_of(quality).unit)
    with mpl.rc_context(THEME):
        note = _note(rows, points, quality, limits)
        lines = wrap_note(note, _LEFT_IN + _PANEL_IN * len(names))
        figure, axes = _empty_figure(len(names), title, len(lines))
        for ax, name in zip(axes, names, strict=True):
            panel = panel_points(points, name, quality, objectives)
            _draw_front(ax, panel[panel["on_line"]], objectives[name])
            _draw_panel(ax, panel, linear, limits)
            _label_axes(ax, panel, name, limits)
            _draw_labels(ax, panel, linear, limits)
            ax.tick_params(left=ax is axes[0])
        axes[0].set_ylabel(display_of(reported(quality, rows)).axis_label)
        _draw_footer(figure, points[points["y"] >= limits[0]], lines)
    return figure


def _empty_figure(panels: int, title: str | None, note_lines: int) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with margins fixed in inches: labels are placed before it is drawn."""
    bottom = 0.68 + LINE_IN * note_lines + _LEGEND_ROW_IN * (1 if panels > 1 else 2)
    top = 0.4 if title else 0.1
    width, height = _LEFT_IN + _PANEL_IN * panels, bottom + _HEIGHT_IN + top
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    figure.subplots_adjust(
        left=_LEFT_IN / width,
        right=1 - 0.12 / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=0.05,
    )
    if title:
        figure.suptitle(title, x=_LEFT_IN / width, y=1 - 0.08 / height, ha="left", va="top")
    return figure, list(axes)


def _draw_front(ax: Axes, line: pd.DataFrame, direction: str) -> None:
    """Draw the staircase: the best quality for at most this size, or at least this speed."""
    steps = "steps-post" if direction == "minimize" else "steps-pre"
    ax.plot(line["x"], line["y"], ds=steps, color=INK, lw=1.1, zorder=2.5)


def _draw_panel(
    ax: Axes, panel: pd.DataFrame, linear: float | None, limits: tuple[float, float]
) -> None:
    if linear is not None:
        ax.axhline(linear, ls=(0, (5, 3)), lw=1, color="0.35", zorder=2)
    inside = panel[panel["y"] >= limits[0]]
    below = panel[panel["y"] < limits[0]]
    ax.plot(below["x"], np.full(len(below), limits[0]), ls="", marker=7, color="0.35", ms=5)
    barred = inside[inside["on_front"] | inside["label"].notna()]
    ax.errorbar(
        barred["x"],
        barred["y"],
        yerr=barred["y_bar"],
        xerr=barred[["x_low", "x_high"]].to_numpy(dtype=float).T,
        fmt="none",
        ecolor="0.6",
        elinewidth=0.7,
        zorder=2.8,
    )
    references = inside["kind"].eq("reference")
    _scatter(ax, inside[~inside["on_front"] & ~references], s=16, alpha=0.6, linewidth=0)
    _scatter(ax, inside[inside["on_front"] & ~references], s=34, linewidth=0.6, edgecolor=INK)
    stars = inside[references]
    best = inside[inside["label"].eq(BEST)]
    ax.plot(best["x"], best["y"], "o", ms=13, mfc="none", mec=INK, mew=1.2, zorder=7)
    ax.plot(stars["x"], stars["y"], "*", ms=10, mfc="white", mec=INK, mew=0.9, zorder=6)


def _scatter(ax: Axes, points: pd.DataFrame, **look: Any) -> None:
    if points.empty:  # seaborn warns of a palette that nothing uses
        return
    sns.scatterplot(
        points,
        x="x",
        y="y",
        hue="bits",
        style="bits",
        palette=_COLOURS,
        markers=_MARKERS,
        legend=False,
        ax=ax,
        zorder=4,
        **look,
    )


def _label_axes(ax: Axes, panel: pd.DataFrame, name: str, limits: tuple[float, float]) -> None:
    shown = display_of(name)
    ax.set(xlabel=shown.axis_label, ylabel="", ylim=limits)
    if not len(panel):
        ax.set_xticks([])
        ax.text(0.5, 0.7, "no completed model", transform=ax.transAxes, ha="center", color=SOFT)
    elif shown.log:
        low, high = (panel["x"] - panel["x_low"]).min(), (panel["x"] + panel["x_high"]).max()
        pad = max((high / low) ** 0.08, 1.5 if high / low < 2 else 1.0)
        log_axis(ax, "x", low / pad, high * pad)
    ax.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    sns.despine(ax=ax)


def _draw_labels(
    ax: Axes, panel: pd.DataFrame, linear: float | None, limits: tuple[float, float]
) -> None:
    named = panel[panel["label"].notna()].sort_values("label", key=lambda names: names != BEST)
    labels = [
        # What lies below the panel is at its edge, and its label says where it is.
        Label(
            label if y >= limits[0] else f"{label} ({y:.1f})",
            [(x, max(y, limits[0]))],
            label == BEST,
        )
        for label, x, y in zip(named["label"], named["x"], named["y"], strict=True)
    ]
    if linear is not None:
        along = ax.transAxes.transform([(share, 0.5) for share in np.linspace(0.05, 0.95, 13)])
        y = float(np.clip(linear, *limits))
        anchors = [(x, y) for x, _ in ax.transData.inverted().transform(along)]
        labels.append(Label(linear_label(linear, limits), anchors, leader=False))
    place_labels(ax, labels)


def _draw_footer(figure: Figure, points: pd.DataFrame, lines: Sequence[str]) -> None:
    """Draw the note at the bottom and the legend above it."""
    height = figure.get_size_inches()[1]
    write_note(figure, lines)
    handles = [
        mark(
            "codebook" if bits == CODEBOOK else f"{bits} bits",
            _MARKERS[bits],
            markerfacecolor=_COLOURS[bits],
        )
        for bits in BITS
        if bits and (points["bits"].eq(bits) & points["kind"].eq("search")).any()
    ]
    handles += [
        mark("reference point", "*", markerfacecolor="white", markersize=10),
        Line2D([], [], color=INK, lw=1.1, label="Pareto front"),
    ]
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, (0.08 + LINE_IN * len(lines)) / height),
        ncols=len(handles) if len(figure.axes) > 1 else 4,
        frameon=False,
        columnspacing=1.2,
        handletextpad=0.3,
    )


def _note(
    rows: pd.DataFrame, points: pd.DataFrame, quality: str, limits: tuple[float, float]
) -> str:
    final = final_attempts(rows)
    failed = int(final["state"].isin(["FAIL", "LOST"]).sum())
    below = int((points["y"] < limits[0]).sum())
    shown = "test" if reported(quality, rows) != quality else "validation"
    chosen = "Fronts and best combination" if points["label"].eq(BEST).any() else "Fronts"
    searched = points["on_front"] & points["kind"].ne("reference")
    large = "; large points: of all together" if searched.any() else ""
    note = (
        f"{chosen} are chosen on validation, accuracy is shown on the {shown} split. "
        f"Line: front of the panel's two objectives{large}. Bars: 95 % intervals, of accuracy "
        "for the difference to the teacher in pairs, clustered by document. "
        f"Completed: {len(points)}, failed: {failed}."
    )
    return f"{note} Triangles at the lower edge: {below} below it." if below else note
