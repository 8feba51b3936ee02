"""The figure of attainment: the staircases that every seed, half of them, or one seed reach."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import INK, THEME, new_figure, scale_axis
from analysis.rows.units import display_of
from analysis.selection.attainment import attainment
from analysis.selection.objectives import candidates, quality_objective

_LINES = [("0.45", (0, (1, 1.5))), (INK, "-"), ("0.45", (0, (5, 2)))]
_NOTE = (
    "A point above and to the better side of a line was reached by fewer seeds than the line says. "
    "Shaded: between the outer lines, the spread of the whole search and not of one model. "
    "{count} seeds, on the validation split, which the search sees. Dots: all models."
)


def attainment_figure(sets: Mapping[str, pd.DataFrame], objectives: Mapping[str, str]) -> Figure:
    """Draw one panel for each objective beside quality.

    Args:
        sets: Models of one seed by label, as `analysis.selection.attainment.seed_sets` gives them.
        objectives: "maximize" or "minimize" by column.

    Raises:
        ValueError: Fewer than two sets.
    """
    quality = quality_objective(objectives)
    names = [name for name in objectives if name != quality]
    models = pd.concat([candidates(found) for found in sets.values()])
    note = _NOTE.format(count=len(sets))
    with mpl.rc_context(THEME):
        figure, axes = new_figure((1, len(names)), (3.7, 3.3), note=note, sharey=True)
        for ax, name in zip(axes[0], names, strict=True):
            shown = display_of(name)
            y = models[quality].astype(float) * display_of(quality).factor
            x = models[name].astype(float) * shown.factor
            ax.plot(x, y, ".", ms=3, color="0.6", zorder=1.5)
            scale_axis(ax, "x", name, x)
            _draw(ax, attainment(sets, objectives, name), name, quality, objectives)
        axes[0][0].set_ylabel(display_of(quality).axis_label)
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=len(handles))
    return figure


def _draw(
    ax: Axes, table: pd.DataFrame, name: str, quality: str, objectives: Mapping[str, str]
) -> None:
    minimized = objectives[name] == "minimize"
    steps, outer = ("post" if minimized else "pre"), []
    low, high = ax.get_xlim()
    for (_, group), (colour, line) in zip(table.groupby("level"), _looks(table), strict=True):
        x = group[name].to_numpy() * display_of(name).factor
        y = group[quality].to_numpy() * display_of(quality).factor
        x, y = (np.append(x, high), np.append(y, y[-1])) if minimized else (
            np.insert(x, 0, low), np.insert(y, 0, y[0])
        )  # fmt: skip
        ax.plot(
            x, y, ds=f"steps-{steps}", color=colour, ls=line, lw=1.3, label=group["name"].iat[0]
        )
        outer.append((x, y))
    grid = np.geomspace(low, high, 2000) if display_of(name).log else np.linspace(low, high, 2000)
    edges = [_staircase(grid, x, y, minimized) for x, y in (outer[0], outer[-1])]
    ax.fill_between(grid, edges[0], edges[1], color="0.5", alpha=0.18, lw=0, zorder=1)
    ax.set_xlim(low, high)


def _looks(table: pd.DataFrame) -> list[Any]:
    count = table["level"].nunique()
    return _LINES if count == 3 else [_LINES[1], _LINES[2]][:count]


def _staircase(grid: np.ndarray, x: np.ndarray, y: np.ndarray, minimized: bool) -> np.ndarray:
    """Return the line's height on a grid; NaN where no set attains anything."""
    index = np.searchsorted(x, grid, side="right" if minimized else "left") - int(minimized)
    inside = (index >= 0) & (index < len(x))
    return np.where(inside, y[np.clip(index, 0, len(x) - 1)], np.nan)
