"""Slices: each objective against each searched parameter, one dot a trial."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import (
    INK,
    THEME,
    empty_panel,
    mark,
    new_figure,
    scale_axis,
    short_label,
)
from analysis.rows.recipes import had_effect
from analysis.rows.units import display_of
from analysis.selection.fronts import front_rows
from analysis.selection.processors import main_processor
from analysis.tables.parameter_importance import as_numbers, searched

_NOTE = (
    "Every completed trial of the search against one parameter; the others vary too, so a slope "
    "is no effect by itself; left out where the parameter changed nothing (bits of a codebook). "
    "Full: on the front of all objectives, chosen on validation."
)


def slice_figure(
    rows: pd.DataFrame, objectives: Mapping[str, str], parameters: Sequence[str]
) -> Figure:
    """Draw each objective (rows of panels) against each of the parameters (columns)."""
    rows = main_processor(rows, objectives)
    models = searched(rows)
    on_front = models["trial"].isin(front_rows(rows, objectives)["trial"]).to_numpy()
    shape = (len(objectives), max(len(parameters), 1))
    with mpl.rc_context(THEME):
        figure, axes = new_figure(shape, (1.55, 1.55), note=_NOTE, sharey="row", sharex="col")
        if models.empty or not parameters:
            empty_panel(axes[0][0], "nothing was searched")
            return figure
        effects = had_effect(models)
        for column, name in enumerate(parameters):
            x, names = as_numbers(models[name])
            kept = effects[name].to_numpy()
            for row, objective in enumerate(objectives):
                values = models.loc[kept, objective]
                _draw_slice(axes[row][column], x[kept], values, objective, on_front[kept])
            axes[-1][column].set_xlabel(short_label(name, models))
            _parameter_ticks(axes[-1][column], x, names)
        for row, objective in enumerate(objectives):
            shown = display_of(objective)
            scale_axis(axes[row][0], "y", objective, models[objective].astype(float) * shown.factor)
            axes[row][0].set_ylabel(short_label(objective))
        handles = [
            mark("on the front", "o", markerfacecolor=INK, markersize=5),
            mark("dominated", "o", markerfacecolor="white", markersize=4),
        ]
        figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return figure


def _draw_slice(
    ax: Axes, x: np.ndarray, values: pd.Series, objective: str, on_front: np.ndarray
) -> None:
    y = values.to_numpy(dtype=float, na_value=np.nan) * display_of(objective).factor
    ax.plot(x[~on_front], y[~on_front], "o", ms=3.5, mfc="white", mec="0.5", mew=0.7)
    ax.plot(x[on_front], y[on_front], "o", ms=4.5, mfc=INK, mec="white", mew=0.4, zorder=3)


def _parameter_ticks(ax: Axes, x: np.ndarray, names: list[str] | None) -> None:
    levels = np.unique(x)
    if names is not None:
        ax.set_xticks(range(len(names)), names, rotation=40 if max(map(len, names)) > 3 else 0)
        ax.set_xlim(-0.5, len(names) - 0.5)
    elif levels.min() > 0 and levels.max() / levels.min() >= 8:
        ax.set_xscale("log")
        ticks = levels if len(levels) <= 6 else np.geomspace(levels.min(), levels.max(), 3)
        ax.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
        ax.set_xticks([], minor=True)
        ax.set_xlim(levels.min() / 1.3, levels.max() * 1.3)
    elif len(levels) <= 5:
        ax.set_xticks(levels, _apart(levels))
        pad = 0.15 * max(float(np.ptp(levels)), 0.5)
        ax.set_xlim(levels.min() - pad, levels.max() + pad)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))


def _apart(levels: np.ndarray) -> list[str]:
    """Return the levels as texts, empty where one would run into its neighbour or the last."""
    room, texts, last = 0.2 * float(np.ptp(levels)), [], -np.inf
    for level in levels:
        shown = level == levels[-1] or min(level - last, levels[-1] - level) >= room
        texts.append(f"{level:g}" if shown else "")
        last = level if shown else last
    return texts
