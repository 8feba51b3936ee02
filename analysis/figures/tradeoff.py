"""All three objectives at once: size against speed, and how much quality each point costs."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.figures.labels import Label, place_labels
from analysis.figures.points import BEST, model_labels
from analysis.figures.style import (
    INK,
    THEME,
    empty_panel,
    freeze_layout,
    mark,
    new_figure,
    scale_axis,
)
from analysis.rows.units import display_of
from analysis.selection.objectives import candidates, quality_objective
from analysis.selection.processors import main_processor
from analysis.selection.recommendation import quality_drop
from analysis.statistics.pareto import front_mask

CLASSES = (0.005, 0.01, 0.02, np.inf)  # upper ends of the drop in quality, as shares
_MARKERS = ("o", "s", "D", "X")
_LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)))
_USUAL = {"size_bytes": "minimize", "speedup_b1": "maximize"}  # where there is one objective more
_NOTE = (
    "Each point is a model; its marker says how much accuracy it loses against the teacher on "
    "validation, where models are chosen. A line is the best speed to be had at a size for at most "
    "so many points lost. {circled}{bars}"
)


def tradeoff_figure(rows: pd.DataFrame, objectives: Mapping[str, str]) -> Figure:
    """Draw two objectives beside quality as axes, and the lost quality as classes of markers.

    If the sweep has one objective beside quality, the axes are size and speed at batch 1.
    """
    rows = main_processor(rows, objectives)
    quality = quality_objective(objectives)
    others = {name: way for name, way in objectives.items() if name != quality}
    pair = dict(
        list(({} | others | {k: v for k, v in _USUAL.items() if k not in others}).items())[:2]
    )
    models = candidates(rows)
    models = models.dropna(subset=[quality, *pair])
    drop = quality_drop(models, rows, objectives).to_numpy(dtype=float)
    timed = [name for name in pair if f"{name}_low" in models]
    bars = f"Bars: 95 % intervals of the {display_of(timed[0]).label}." if timed else ""
    names = model_labels(models, rows, objectives)
    circled = "Circled: the best combination. " if names.eq(BEST).any() else ""
    with mpl.rc_context(THEME):
        note = _NOTE.format(circled=circled, bars=bars)
        figure, axes = new_figure((1, 1), (5.2, 4.2), note=note)
        ax = axes[0][0]
        if models.empty:
            empty_panel(ax, "no completed model")
            return figure
        for which, name in zip("xy", pair, strict=True):
            shown = [f"{name}{end}" for end in ("", "_low", "_high") if f"{name}{end}" in models]
            scale_axis(ax, which, name, models[shown].astype(float) * display_of(name).factor)
        _draw(ax, models, drop, pair)
        figure.legend(handles=_handles(drop), loc="outside right upper")
        freeze_layout(figure)
        _draw_labels(ax, models, names, pair)
    return figure


def class_of(drop: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the index (n,) of each drop's class in CLASSES; an unknown drop is in the last."""
    return np.searchsorted(np.array(CLASSES) + 1e-12, np.nan_to_num(drop, nan=np.inf))


def _draw(
    ax: Axes, models: pd.DataFrame, drop: NDArray[np.float64], pair: Mapping[str, str]
) -> None:
    shown = {name: models[name].to_numpy(dtype=float) * display_of(name).factor for name in pair}
    (x, y), colours = shown.values(), _colours()
    for index, limit in enumerate(CLASSES[:-1]):
        near = np.flatnonzero(drop <= limit + 1e-12)
        values = np.column_stack([x[near], y[near]])
        line = near[front_mask(values, list(pair.values()))] if len(near) else near
        if len(line):
            edge = _region(x[line], y[line], ax, list(pair.values()))
            ax.plot(*edge, ls=_LINES[index], color=INK, lw=1.1, zorder=2)
    _draw_bars(ax, models, pair, x, y)
    classes = class_of(drop)
    for index in reversed(range(len(CLASSES))):
        here = classes == index
        look = {"mfc": colours[index], "mec": INK, "mew": 0.5, "zorder": 5 - 0.1 * index}
        ax.plot(x[here], y[here], ls="", marker=_MARKERS[index], ms=6 - 0.6 * index, **look)


def _region(
    x: NDArray[np.float64], y: NDArray[np.float64], ax: Axes, directions: list[str]
) -> tuple[list[float], list[float]]:
    """Return the edge of the region that points dominate, up to the panel's worse ends."""
    ends = (ax.get_xlim(), ax.get_ylim())
    worst = [end[way == "minimize"] for end, way in zip(ends, directions, strict=True)]
    order = np.argsort(x if directions[0] == "minimize" else -x)
    across, up = [float(x[order[0]])], [worst[1]]
    for index in order:
        across += [float(x[index])] * 2
        up += [up[-1], float(y[index])]
    return [*across, worst[0]], [*up, up[-1]]


def _draw_bars(ax: Axes, models: pd.DataFrame, pair: Mapping[str, str], x: Any, y: Any) -> None:
    for which, (name, values) in zip("xy", zip(pair, (x, y), strict=True), strict=True):
        if f"{name}_low" in models:
            ends = models[[f"{name}_low", f"{name}_high"]].to_numpy(dtype=float, na_value=np.nan)
            bar = np.abs(ends * display_of(name).factor - values[:, None]).T
            ax.errorbar(
                x, y, **{f"{which}err": bar}, fmt="none", ecolor="0.7", elinewidth=0.7, zorder=1.8
            )


def _colours() -> list[Any]:
    return [*sns.color_palette("viridis", len(CLASSES) - 1), "white"]


def _handles(drop: NDArray[np.float64]) -> list[Any]:
    texts = [f"≤ {100 * limit:g}" for limit in CLASSES[:-1]] + [f"> {100 * CLASSES[-2]:g}"]
    handles = [mark("points lost:", "")]
    present = set(class_of(drop))
    for index, (text, marker, colour) in enumerate(zip(texts, _MARKERS, _colours(), strict=True)):
        look: dict[str, Any] = {"markerfacecolor": colour}
        if index < len(_LINES):
            look |= {"linestyle": _LINES[index], "color": INK, "linewidth": 1.1}
        if index in present or index < len(_LINES):
            handles.append(mark(text, marker, **look))
    return handles


def _draw_labels(ax: Axes, models: pd.DataFrame, names: pd.Series, pair: Mapping[str, str]) -> None:
    labels = []
    for index, name in names.dropna().items():
        x, y = (float(models[key].to_dict()[index]) * display_of(key).factor for key in pair)
        labels.append(Label(str(name), [(x, y)], name == BEST))
        if name == BEST:
            ax.plot(x, y, "o", ms=13, mfc="none", mec=INK, mew=1.2, zorder=7)
    place_labels(ax, labels)
