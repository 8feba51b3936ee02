"""Several fronts in one figure: of several runs, or of several processor types."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.errors import UserError
from analysis.figures.points import (
    figure_points,
    linear_label,
    linear_quality,
    panel_points,
    quality_limits,
)
from analysis.figures.style import INK, SOFT, THEME, empty_panel, new_figure, scale_axis, series
from analysis.rows.units import display_of
from analysis.selection.hypervolume import hypervolume_of
from analysis.selection.objectives import quality_objective, reported
from analysis.selection.processors import is_timed, timed_on

_NOTE = (
    "Fronts are chosen on validation, accuracy is shown on the {split} split. Line: front of the "
    "panel's two objectives; large points: of all together; small: the other models. Bars: 95 % "
    "intervals, of accuracy for the difference to the teacher in pairs. HV: hypervolume of all "
    "objectives under one reference point, the baseline (0 to 1, more is better)."
)


def fronts_figure(parts: Mapping[str, pd.DataFrame], objectives: Mapping[str, str]) -> Figure:
    """Draw one panel for each objective beside quality, with the front of each part.

    Args:
        parts: Rows by label, as `analysis.selection.runs.front_parts` gives them.
        objectives: "maximize" or "minimize" by column.

    Raises:
        UserError: No part, or fewer than two objectives.
    """
    quality = quality_objective(objectives)
    names = [name for name in objectives if name != quality]
    if not parts or not names:
        raise UserError(f"fronts need rows and two objectives, got {len(parts)} and {names}")
    points = {label: figure_points(rows, objectives) for label, rows in parts.items()}
    linear = [linear_quality(rows, quality) for rows in parts.values()]
    floor = min((value for value in linear if value is not None), default=None)
    limits = quality_limits(pd.concat(points.values()), floor, display_of(quality).unit)
    first = next(iter(parts.values()))
    split = "test" if reported(quality, first) != quality else "validation"
    note = _NOTE.format(split=split)
    if pd.concat(points.values())["y"].lt(limits[0]).any():
        note += " Triangles at the lower edge: models below it."
    if is_timed(objectives) and len({_processor(rows) for rows in parts.values()}) > 1:
        note += " Speed-ups on different processor types do not compare."
    with mpl.rc_context(THEME):
        figure, axes = new_figure((1, len(names)), (3.9, 3.4), note=note, sharey=True)
        for ax, name in zip(axes[0], names, strict=True):
            panels = {
                label: panel_points(found, name, quality, objectives)
                for label, found in points.items()
            }
            for index, panel in enumerate(panels.values()):
                _draw(ax, panel, objectives[name], limits[0], series(index))
            if floor is not None:
                ax.axhline(floor, ls=(0, (1, 3)), lw=1, color=SOFT, zorder=1.5)
            every = pd.concat(panels.values())
            scale_axis(ax, "x", name, every["x"])
            ax.set_ylim(*limits)
            if every.empty:
                empty_panel(ax, "no completed model")
        axes[0][0].set_ylabel(display_of(reported(quality, first)).axis_label)
        label = None if floor is None else linear_label(floor, limits)
        _legend(figure, axes[0][0], parts, objectives, label)
    return figure


def _processor(rows: pd.DataFrame) -> str:
    return str(timed_on(rows).dropna().mode().str.cat())


def _draw(
    ax: Axes, panel: pd.DataFrame, direction: str, floor: float, look: dict[str, Any]
) -> None:
    line = panel[panel["on_line"]]
    steps = "steps-post" if direction == "minimize" else "steps-pre"
    ax.plot(line["x"], line["y"], ds=steps, **{**look, "marker": ""}, lw=1.3, zorder=2.5)
    inside = panel[panel["y"] >= floor]
    front, rest = inside[inside["on_front"]], inside[~inside["on_front"]]
    points = {"marker": look["marker"], "ls": "", "mec": look["color"]}
    ax.plot(rest["x"], rest["y"], **points, ms=3, mfc="none", mew=0.6, alpha=0.6, zorder=3)
    ax.errorbar(
        front["x"],
        front["y"],
        yerr=front["y_bar"],
        xerr=front[["x_low", "x_high"]].to_numpy(dtype=float).T,
        fmt="none",
        ecolor="0.7",
        elinewidth=0.7,
        zorder=2.2,
    )
    ax.plot(front["x"], front["y"], **points, ms=6, mfc=look["color"], mew=0.6, zorder=4)
    below = panel[panel["y"] < floor]
    ax.plot(below["x"], np.full(len(below), floor), ls="", marker=7, color=look["color"], ms=5)


def _legend(
    figure: Figure,
    ax: Axes,
    parts: Mapping[str, pd.DataFrame],
    objectives: Mapping[str, str],
    linear: str | None,
) -> None:
    handles = []
    for index, (label, rows) in enumerate(parts.items()):
        text = f"{label} (HV {hypervolume_of(rows, objectives):.3f})"
        (handle,) = ax.plot([], [], **series(index), mec=INK, mew=0.6, ms=6, label=text)
        handles.append(handle)
    if linear is not None:
        (handle,) = ax.plot([], [], ls=(0, (1, 3)), lw=1, color=SOFT, label=linear)
        handles.append(handle)
    figure.legend(handles=handles, loc="outside upper left", ncols=1 if len(handles) < 3 else 2)
