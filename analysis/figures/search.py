"""Figures of the search's cost: hypervolume over core-hours, and time by stage."""

from collections.abc import Mapping

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import INK, THEME, empty_panel, new_figure, series
from analysis.rows.records import records
from analysis.tables.search_costs import NO_RESULT, UNATTRIBUTED, volume_over_cost

_VOLUME_NOTE = (
    "Hypervolume of all objectives against the baseline (0 to 1, more is better) after each "
    "attempt that ended. Core-hours are those of the attempts, failed ones too; the prepare job "
    "and idle workers are not in them. Cross: the reference points are done. One "
    "search is one draw: the line of another seed would differ."
)
_STAGE_NOTE = (
    "Wall time summed over all attempts. A stage that was found in the cache costs nothing and is "
    "counted as loaded. Hatched: what is no stage of a finished attempt."
)


def volume_figure(parts: Mapping[str, pd.DataFrame], objectives: Mapping[str, str]) -> Figure:
    """Draw the hypervolume over core-hours, one line for each part (rows by label)."""
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
    """Return limits from just below the reference points to just above the end of the search."""
    starts, ends = [], []
    for rows in parts.values():
        table = volume_over_cost(rows, objectives)
        references = table["kind"].eq("reference")
        before = table.loc[references & (not references.all()), "hypervolume"]
        starts.append(float(before.max()) if len(before) else 0.0)
        ends.append(float(table["hypervolume"].max()) if len(table) else 1.0)
    pad = 0.08 * max(max(ends) - min(starts), 0.01)
    return max(min(starts) - pad, 0.0), min(max(ends) + pad, 1.0)


def stage_figure(table: pd.DataFrame) -> Figure:
    """Draw the wall time of each stage, the costliest first.

    Args:
        table: The table of `analysis.tables.search_costs.stage_table`.
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
        for index, row in enumerate(records(table)):
            text = f" {100 * row['share']:.0f} %"
            if row["stage"] not in (UNATTRIBUTED, NO_RESULT):
                text += f"  ran {row['ran']}×, loaded {row['loaded']}×"
            ax.annotate(text, (values[index], index), va="center", fontsize=7.5, color=INK)
        ax.set(xlabel=f"Wall time of all attempts ({unit})", xlim=(0, values.max() * 1.6))
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
    return figure
