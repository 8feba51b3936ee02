"""Figures of the search: volume over cost, importance, slices, parallel lines, time by stage."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import (
    INK,
    SOFT,
    THEME,
    empty_panel,
    mark,
    new_figure,
    scale_axis,
    series,
)
from analysis.rows.recipes import had_effect
from analysis.rows.units import display_of
from analysis.selection.fronts import front_rows
from analysis.selection.processors import main_processor
from analysis.tables.parameter_importance import FEWEST_TRIALS, as_numbers, searched
from analysis.tables.search_costs import NO_RESULT, UNATTRIBUTED, volume_over_cost

_VOLUME_NOTE = (
    "Hypervolume of all objectives against the baseline (0 to 1, more is better) after each "
    "attempt that ended. Core-hours are those of the attempts, failed ones too; the prepare job "
    "and idle workers are not in them. Cross: the reference points are done. One "
    "search is one draw: the line of another seed would differ."
)
_IMPORTANCE_NOTE = (
    "How much R² on held-out trials falls when one parameter is shuffled: a random forest, 5 "
    "folds; bars: ± one standard error. It says what this sampler's trials depend on within "
    "the ranges searched, not what causes what; {count} trials."
)
_SLICE_NOTE = (
    "Every completed trial of the search against one parameter; the others vary too, so a slope "
    "is no effect by itself; left out where the parameter changed nothing (bits of a codebook). "
    "Full: on the front of all objectives, chosen on validation."
)
_PARALLEL_NOTE = (
    "One line a trial, through its parameters and what was measured (validation split). Dark: on "
    "the front; grey: dominated. The better end of an objective is up. Crossings between two axes "
    "depend on their order; below an axis the parameter changed nothing (bits of a codebook)."
)
_STAGE_NOTE = (
    "Wall time summed over all attempts. A stage that was found in the cache costs nothing and is "
    "counted as loaded. Hatched: what is no stage of a finished attempt."
)


def volume_figure(parts: Mapping[str, pd.DataFrame], objectives: Mapping[str, str]) -> Figure:
    """Hypervolume over core-hours, one line per part (label -> rows)."""
    with mpl.rc_context(THEME):
        figure, axes = new_figure((1, 1), (5.0, 3.0), note=_VOLUME_NOTE)
        ax = axes[0][0]
        for index, (label, rows) in enumerate(parts.items()):
            table = volume_over_cost(rows, objectives)
            look = series(index)
            hours, volume = table["core_hours"], table["hypervolume"]
            ax.plot(hours, volume, ds="steps-post", **{**look, "marker": ""}, lw=1.4, label=label)
            rises = table[volume.diff().fillna(volume) > 0]
            ax.plot(rises["core_hours"], rises["hypervolume"], ls="", ms=4, mec="white", mew=0.4,
                    marker=look["marker"], color=look["color"])  # fmt: skip
            references = table[table["kind"].eq("reference")].tail(1)
            ax.plot(references["core_hours"], references["hypervolume"], "x", ms=8, mew=1.6,
                    color=look["color"], zorder=5)  # fmt: skip
        ax.set(xlabel="Core-hours in trials", ylabel="Hypervolume (0 to 1)", xlim=(0, None))
        ax.set_ylim(*_volume_limits(parts, objectives))
        if len(parts) > 1:
            ax.legend(loc="best")
    return figure


def _volume_limits(
    parts: Mapping[str, pd.DataFrame], objectives: Mapping[str, str]
) -> tuple[float, float]:
    """From just below the reference points, where a search begins, to just above its end."""
    starts, ends = [], []
    for rows in parts.values():
        table = volume_over_cost(rows, objectives)
        references = table["kind"].eq("reference")
        before = table.loc[references & (not references.all()), "hypervolume"]
        starts.append(float(before.max()) if len(before) else 0.0)
        ends.append(float(table["hypervolume"].max()) if len(table) else 1.0)
    pad = 0.08 * max(max(ends) - min(starts), 0.01)
    return max(min(starts) - pad, 0.0), min(max(ends) + pad, 1.0)


def importance_figure(table: pd.DataFrame, trials: int) -> Figure:
    """One panel per objective: how much each parameter matters, held out.

    Args:
        table: of `analysis.tables.parameter_importance.parameter_importance`.
        trials: number of searched trials behind it.
    """
    objectives = list(dict.fromkeys(table["objective"]))
    order = table.groupby("parameter")["importance"].sum().sort_values().index
    shape_in = (2.5, 0.24 * max(len(order), 3) + 0.9)
    note = _IMPORTANCE_NOTE.format(count=trials)
    with mpl.rc_context(THEME):
        figure, axes = new_figure((1, max(len(objectives), 1)), shape_in, note=note, sharey=True)
        if not objectives:
            few = trials < FEWEST_TRIALS
            empty_panel(
                axes[0][0], f"fewer than {FEWEST_TRIALS} trials" if few else "nothing varied"
            )
        for ax, objective in zip(axes[0], objectives, strict=False):
            found = table[table["objective"].eq(objective)].set_index("parameter").loc[order]
            r2 = found["r2"].iloc[0]
            look = {"color": "0.45"} if r2 > 0 else {"color": "white", "edgecolor": "0.6"}
            ax.barh([display_of(name, table).label for name in order], found["importance"], **look)
            ax.errorbar(found["importance"], range(len(order)), xerr=found["error"], fmt="none",
                        ecolor=INK, elinewidth=0.9)  # fmt: skip
            ax.axvline(0, color=SOFT, lw=0.8)
            ax.set_title(_short(objective, with_unit=False), fontsize=8.5)
            said = f"Fall of R² (forest: {r2:.2f})" if r2 > 0 else "the forest has learned nothing"
            ax.set_xlabel(said)
    return figure


def slice_figure(
    rows: pd.DataFrame, objectives: Mapping[str, str], parameters: Sequence[str]
) -> Figure:
    """Each objective (rows of panels) against each of the parameters (columns)."""
    rows = main_processor(rows, objectives)
    models = searched(rows)
    on_front = models["trial"].isin(front_rows(rows, objectives)["trial"]).to_numpy()
    shape = (len(objectives), max(len(parameters), 1))
    with mpl.rc_context(THEME):
        figure, axes = new_figure(shape, (1.55, 1.55), note=_SLICE_NOTE, sharey="row", sharex="col")
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
            axes[-1][column].set_xlabel(_short(name, models))
            _parameter_ticks(axes[-1][column], x, names)
        for row, objective in enumerate(objectives):
            shown = display_of(objective)
            scale_axis(axes[row][0], "y", objective, models[objective].astype(float) * shown.factor)
            axes[row][0].set_ylabel(_short(objective))
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
    """Their texts, empty where one would run into the one before or into the last."""
    room, texts, last = 0.2 * float(np.ptp(levels)), [], -np.inf
    for level in levels:
        shown = level == levels[-1] or min(level - last, levels[-1] - level) >= room
        texts.append(f"{level:g}" if shown else "")
        last = level if shown else last
    return texts


def _short(name: str, rows: pd.DataFrame | None = None, *, with_unit: bool = True) -> str:
    """Return a label in lines that fit beside a small panel."""
    shown = display_of(name, rows)
    label = shown.label.replace(" over the fp32 teacher", "")
    label = f"{label[0].upper()}{label[1:]}" + (
        f" ({shown.unit})" if shown.unit and with_unit else ""
    )
    return textwrap.fill(label, 14)


def parallel_figure(
    rows: pd.DataFrame, objectives: Mapping[str, str], parameters: Sequence[str]
) -> Figure:
    """One line per trial through its parameters and its objectives, the front's in front."""
    rows = main_processor(rows, objectives)
    models = searched(rows).dropna(subset=list(objectives))
    on_front = models["trial"].isin(front_rows(rows, objectives)["trial"]).to_numpy()
    names = [*parameters, *objectives]
    with mpl.rc_context(THEME):
        figure, axes = new_figure((1, 1), (max(1.05 * len(names), 4.5), 3.4), note=_PARALLEL_NOTE)
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
        ax.set_xticks(range(len(names)), [_short(name, models) for name in names])
        ax.grid(False)
        for side in ("top", "right", "bottom", "left"):
            ax.spines[side].set_visible(False)
        ax.tick_params(length=0)
    return figure


_DOMINATED: dict[str, Any] = {"color": "0.78", "lw": 0.7, "zorder": 2}
_IDLE = -0.12  # Height of a parameter that changed nothing.
_TICKS, _LEVELS = 5, 8  # of a continuous axis; each level is a tick where there are no more


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
    """Different numbers as different texts: of so many decimals, else of as few digits as do."""
    formats = ([] if decimals is None else [f".{decimals}f"]) + [f".{n}g" for n in range(3, 18)]
    every = ([format(value, how) for value in values] for how in formats)
    return next(texts for texts in every if len(set(texts)) == len(texts))


def stage_figure(table: pd.DataFrame) -> Figure:
    """Where the time went, the costliest stage first.

    Args:
        table: of `analysis.tables.search_costs.stage_table`.
    """
    shape_in = (6.6, 0.26 * max(len(table), 2) + 0.7)
    with mpl.rc_context(THEME):
        figure, axes = new_figure((1, 1), shape_in, note=_STAGE_NOTE)
        ax = axes[0][0]
        if table.empty:
            empty_panel(ax, "no attempt has ended")
            return figure
        unit, seconds = ("hours", 3600.0) if table["seconds"].sum() > 7200 else ("minutes", 60.0)
        values = table["seconds"] / seconds
        special = table["stage"].isin([UNATTRIBUTED, NO_RESULT])
        bars = ax.barh(
            table["stage"].str.replace("_", " "), values, color="0.5", edgecolor=INK, lw=0.5
        )
        for bar, is_special in zip(bars, special, strict=True):
            if is_special:
                bar.set(facecolor="white", hatch="////")
        for index, row in enumerate(table.to_dict("records")):
            text = f" {100 * row['share']:.0f} %"
            if row["stage"] not in (UNATTRIBUTED, NO_RESULT):
                text += f"  ran {row['ran']}×, loaded {row['loaded']}×"
            ax.annotate(text, (values[index], index), va="center", fontsize=7.5, color=INK)
        ax.set(xlabel=f"Wall time of all attempts ({unit})", xlim=(0, values.max() * 1.6))
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
    return figure
