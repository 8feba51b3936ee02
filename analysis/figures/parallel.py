"""Parallel coordinates: one line a trial through its parameters and its objectives."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import INK, SOFT, THEME, empty_panel, new_figure, short_label
from analysis.rows.recipes import had_effect
from analysis.rows.units import display_of
from analysis.selection.fronts import front_rows
from analysis.selection.processors import main_processor
from analysis.tables.parameter_importance import as_numbers, searched

_NOTE = (
    "One line a trial, through its parameters and what was measured (validation split). Dark: on "
    "the front; grey: dominated. The better end of an objective is up. Crossings between two axes "
    "depend on their order; below an axis the parameter changed nothing (bits of a codebook)."
)
_DOMINATED: dict[str, Any] = {"color": "0.78", "lw": 0.7, "zorder": 2}
_IDLE = -0.12  # Height of a parameter that changed nothing.
_TICKS, _LEVELS = 5, 8  # of a continuous axis; each level is a tick where there are no more


def parallel_figure(
    rows: pd.DataFrame, objectives: Mapping[str, str], parameters: Sequence[str]
) -> Figure:
    """Draw one line for each trial through its parameters and objectives, the front's on top."""
    rows = main_processor(rows, objectives)
    models = searched(rows).dropna(subset=list(objectives))
    on_front = models["trial"].isin(front_rows(rows, objectives)["trial"]).to_numpy()
    names = [*parameters, *objectives]
    with mpl.rc_context(THEME):
        figure, axes = new_figure((1, 1), (max(1.05 * len(names), 4.5), 3.4), note=_NOTE)
        ax = axes[0][0]
        if models.empty:
            empty_panel(ax, "nothing was searched")
            return figure
        heights = np.column_stack(
            [_draw_axis(ax, i, name, models[name], objectives) for i, name in enumerate(names)]
        )
        idle = ~had_effect(models).reindex(columns=names, fill_value=True).to_numpy()
        heights[idle] = _IDLE
        for index in np.argsort(on_front, kind="stable"):
            look = {"color": INK, "lw": 1.1, "zorder": 3} if on_front[index] else _DOMINATED
            ax.plot(range(len(names)), heights[index], **look)
        for at in np.flatnonzero(idle.any(axis=0)):
            ax.plot([at - 0.06, at + 0.06], [_IDLE, _IDLE], color=SOFT, lw=0.9, zorder=2.5)
        ax.set(xlim=(-0.3, len(names) - 0.45), ylim=(_IDLE - 0.06, 1.06), yticks=[])
        ax.set_xticks(range(len(names)), [short_label(name, models) for name in names])
        ax.grid(False)
        for side in ("top", "right", "bottom", "left"):
            ax.spines[side].set_visible(False)
        ax.tick_params(length=0)
    return figure


def _draw_axis(
    ax: Axes, at: int, name: str, values: pd.Series, objectives: Mapping[str, str]
) -> np.ndarray:
    """Draw one vertical axis with its ticks; return the heights (n,) in [0, 1] of the values."""
    numbers, names = as_numbers(values)
    shown = display_of(name)
    numbers = numbers * (1.0 if names else shown.factor)
    levels = np.unique(numbers)
    logs = names is None and levels[0] > 0 and (shown.log or levels[-1] / levels[0] >= 8)
    scale = np.log if logs else np.asarray
    low, high = float(scale(levels[0])), float(scale(levels[-1]))
    span, flip = (high - low) or 1.0, objectives.get(name) == "minimize"
    if len(levels) > _LEVELS:
        even = np.linspace(low, high, _TICKS)
        levels = np.exp(even) if logs else even
    place = (scale(levels) - low) / span if high > low else np.full(len(levels), 0.5)
    ax.plot([at, at], [0, 1], color=SOFT, lw=0.9, zorder=2.5)
    texts = [names[int(level)] for level in levels] if names else _numbers(levels, shown.decimals)
    for text, height in zip(texts, 1 - place if flip else place, strict=True):
        ax.annotate(
            text,
            (at, height),
            (4, 0),
            textcoords="offset points",
            fontsize=7,
            va="center",
            zorder=5,
            bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.6},
        )
    heights = (scale(numbers) - low) / span if high > low else np.full(len(numbers), 0.5)
    return 1 - heights if flip else heights


def _numbers(values: np.ndarray, decimals: int | None) -> list[str]:
    """Return different numbers as different texts, with as few digits as that takes."""
    formats = ([] if decimals is None else [f".{decimals}f"]) + [f".{n}g" for n in range(3, 18)]
    every = ([format(value, how) for value in values] for how in formats)
    return next(texts for texts in every if len(set(texts)) == len(texts))
