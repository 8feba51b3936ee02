"""The figures of the methods: subsets that were tried, whether gains multiply, what was claimed."""

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.points import interval_factors
from analysis.figures.style import INK, SOFT, THEME, empty_panel, log_axis, mark, new_figure
from analysis.rows.recipes import method_order
from analysis.rows.schema import BATCHES
from analysis.tables.claims import pass_name
from analysis.tables.method_gains import GAINS, MULTIPLY_WITHIN, product_summary, untried_text

_ROW_IN, _LINE_IN, _AROUND_IN = 0.31, 0.14, 1.0
_GAIN_NAMES = {
    "size_ratio": "Size",
    "speedup_b1": "Speed at batch 1",
    "speedup_b32": "Speed at batch 32",
}
_SUBSET_NOTE = (
    "One model for each subset of methods that was tried (number of models tried in brackets): the "
    "smallest at most one point below the teacher on validation, else the most accurate (marked *)."
    " Bars: 95 % intervals, of the difference to the teacher on test in pairs, and of the ratio of "
    "median times. Dashed: the teacher."
)
_PRODUCT_NOTE = (
    "Each point is a model that combines methods. Full: expected is the product of gains that were "
    "each measured alone at the same settings. Hollow: of one factor per setting, fitted to all "
    "other models; that is right on average by itself, so its spread tells. On the line gains "
    "multiply; shaded: within {share:.0f} % of it. In the corner: number of models, median, and in "
    "brackets the middle 90 %."
)
_AUDIT_NOTE = (
    "Claimed, as papers count: bytes are nonzero parameters times their bits, time is nonzero "
    "multiply-accumulates times bits over 32; no claim is shown where the rows cannot say. "
    "Measured: bytes of the saved file, speed against the fp32 teacher in the same runtime, with "
    "95 % intervals. Dashed: the teacher."
)


def subset_figure(table: pd.DataFrame) -> Figure:
    """Subsets of methods as a dot matrix, beside what one model of each loses and gains.

    Args:
        table: of `analysis.tables.method_gains.subset_table`.
    """
    methods = method_order(table["methods"])
    rows = max(len(table), 1)
    ratios = {"width_ratios": [0.22 * max(len(methods), 2) + 0.2, 1, 1, 1.2]}
    texts = _subset_texts(table)
    shape_in = (2.15, _row_in(texts) * rows + _AROUND_IN + 0.5)
    note = f"{_SUBSET_NOTE} {untried_text(list(table['methods']))}".strip()
    with mpl.rc_context(THEME):
        figure, axes = new_figure((1, 4), shape_in, note=note, sharey=True, gridspec_kw=ratios)
        matrix, drop, size, speed = axes[0]
        if table.empty or not methods:
            empty_panel(matrix, "no completed model")
            return figure
        y = np.arange(len(table))
        _draw_matrix(matrix, table, methods)
        matrix.set_yticks(y, texts)
        _draw_values(drop, y, table, "accuracy_drop_test", 100.0)
        drop.errorbar(
            table["accuracy_drop_test"].astype(float) * 100,
            y,
            xerr=interval_factors(table, "accuracy_drop_test")
            * 100
            * table["accuracy_drop_test_se"].astype(float),
            **_BARS,
        )
        _draw_values(size, y, table, "size_share", 100.0)
        _draw_speeds(speed, y, table)
        drop.set_xlabel("Accuracy lost\n(points, test)")
        drop.axvline(0, ls=(0, (4, 3)), color=SOFT, lw=0.8)
        _ratio_axis(size, table["size_share"] * 100, "Size (% of\nthe teacher's)", 100)
        _speed_axis(speed, table)
        figure.legend(handles=_speed_handles(), loc="outside upper right", ncols=2)
    return figure


_BARS: dict[str, Any] = {"fmt": "none", "ecolor": "0.45", "elinewidth": 0.9, "zorder": 2}


def _subset_texts(table: pd.DataFrame) -> list[str]:
    star = table["rule"].eq("most accurate").map({True: "*", False: ""})
    return [
        textwrap.fill(f"{settings}{mark} ({count})", 36)
        for settings, mark, count in zip(table["settings"], star, table["models"], strict=True)
    ]


def _row_in(texts: Sequence[str]) -> float:
    """Height of a row in inches that holds the longest of the texts beside them."""
    return max([_ROW_IN, *(_LINE_IN * (text.count("\n") + 1) + 0.05 for text in texts)])


def _draw_matrix(ax: Axes, table: pd.DataFrame, methods: Sequence[str]) -> None:
    for row, used in enumerate(table["methods"]):
        columns = [index for index, name in enumerate(methods) if name in used]
        ax.plot(range(len(methods)), [row] * len(methods), ".", ms=4, color="0.85")
        ax.plot(columns, [row] * len(columns), "o-", ms=6.5, lw=1.4, color=INK)
    ax.set_xticks(range(len(methods)), methods, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set_xlim(-0.6, len(methods) - 0.4)
    ax.grid(False)
    for side in ("top", "right", "bottom", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(length=0)


def _draw_values(ax: Axes, y: Any, table: pd.DataFrame, name: str, factor: float) -> None:
    ax.plot(table[name].astype(float) * factor, y, "o", ms=5, color=INK, zorder=3)
    ax.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


def _draw_speeds(ax: Axes, y: Any, table: pd.DataFrame) -> None:
    for batch, offset, look in (("b1", -0.14, _B1), ("b32", 0.14, _B32)):
        value = table[f"speedup_{batch}"].astype(float)
        ends = [
            (value - table[f"speedup_{batch}_low"].astype(float)).clip(lower=0),
            (table[f"speedup_{batch}_high"].astype(float) - value).clip(lower=0),
        ]
        ax.errorbar(value, y + offset, xerr=np.nan_to_num(np.array(ends)), **_BARS)
        ax.plot(value, y + offset, ls="", **look, zorder=3)
    ax.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


_B1: dict[str, Any] = {"marker": "o", "ms": 5, "mfc": INK, "mec": INK}
_B32: dict[str, Any] = {"marker": "s", "ms": 4.5, "mfc": "white", "mec": INK}


def _speed_handles() -> list[Any]:
    return [
        mark("batch 1", "o", markerfacecolor=INK, markersize=5),
        mark("batch 32", "s", markerfacecolor="white", markersize=5),
    ]


def _speed_axis(ax: Axes, table: pd.DataFrame) -> None:
    names = [f"speedup_{batch}{end}" for batch in BATCHES for end in ("", "_low", "_high")]
    values = pd.concat([table[name].astype(float) for name in names if name in table])
    _ratio_axis(ax, values, "Speed-up over the\nfp32 teacher (×)", 1)


def _ratio_axis(ax: Axes, values: pd.Series, label: str, at: float) -> None:
    known = np.append(values.astype(float).dropna(), at)
    pad = max(1.15, (known.max() / known.min()) ** 0.06)
    log_axis(ax, "x", known.min() / pad, known.max() * pad, most=4)
    ax.axvline(at, ls=(0, (4, 3)), color=SOFT, lw=0.8, zorder=1)
    ax.set_xlabel(label)


def product_figure(products: pd.DataFrame) -> Figure:
    """Measured against expected gains of combined models, one panel per gain.

    Args:
        products: of `analysis.tables.method_gains.gain_products`.
    """
    note = _PRODUCT_NOTE.format(share=100 * MULTIPLY_WITHIN)
    found = product_summary(products)
    with mpl.rc_context(THEME):
        figure, axes = new_figure((1, len(GAINS)), (2.6, 2.9), note=note)
        for ax, gain in zip(axes[0], GAINS, strict=True):
            points = products[products["gain"].eq(gain)]
            ax.set_title(_GAIN_NAMES[gain], fontsize=9, fontweight="bold")
            if points.empty:
                empty_panel(ax, "no model combines\nmethods whose gains\nare known")
                continue
            _draw_products(ax, points)
            said = ["measured / expected:"]
            for row in found[found["gain"].eq(gain)].to_dict("records"):
                spread = f" ({row['low']:.2f} to {row['high']:.2f})" if row["models"] > 1 else ""
                said.append(f"{row['basis']} ({row['models']}): {row['median']:.2f}{spread}")
            text = "\n".join(said)
            # Below the line, where no gain that multiplies is.
            look: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": 7, "color": INK}
            ax.text(0.97, 0.03, text, transform=ax.transAxes, **look)
        axes[0][0].set_ylabel("Measured gain (×)")
    return figure


def _draw_products(ax: Axes, points: pd.DataFrame) -> None:
    values = points[["measured", "expected"]].to_numpy(dtype=float)
    low, high = values.min() / 1.25, values.max() * 1.25
    line = np.array([low, high])
    band = 1 + MULTIPLY_WITHIN
    ax.fill_between(line, line / band, line * band, color="0.5", alpha=0.18, lw=0)
    ax.plot(line, line, color=SOFT, lw=0.9)
    for basis, face in (("fitted", "white"), ("alone", INK)):
        here = points[points["basis"].eq(basis)]
        ax.plot(here["expected"], here["measured"], "o", ms=4.5, mfc=face, mec=INK, mew=0.7)
    log_axis(ax, "x", low, high)
    log_axis(ax, "y", low, high)
    ax.set_aspect("equal")
    ax.set_xlabel("Expected gain (×)")


def audit_figure(table: pd.DataFrame) -> Figure:
    """Claimed and measured size and speed of each pass, a line from one to the other.

    Args:
        table: of `analysis.tables.claims.claim_table`.
    """
    names = [
        textwrap.fill(f"{pass_name(methods)}: {settings}", 36)
        for methods, settings in zip(table["methods"], table["settings"], strict=True)
    ]
    shape_in = (3.9, _row_in(names) * max(len(table), 1) + _AROUND_IN + 0.3)
    with mpl.rc_context(THEME):
        figure, axes = new_figure((1, 2), shape_in, note=_AUDIT_NOTE, sharey=True)
        size, speed = axes[0]
        if table.empty:
            empty_panel(size, "no pass was measured alone")
            return figure
        y = np.arange(len(table))
        _draw_claims(size, y, table["claimed_size_share"] * 100, table["size_share"] * 100)
        _draw_values(size, y, table, "size_share", 100.0)
        _draw_claims(speed, y, table["claimed_speedup"], table["speedup_b1"])
        _draw_speeds(speed, y, table)
        both = pd.concat([table["claimed_size_share"], table["size_share"].astype(float)])
        _ratio_axis(size, both * 100, "Size\n(% of the teacher's)", 100)
        ends = ["speedup_b1_low", "speedup_b1_high", "speedup_b32_low", "speedup_b32_high"]
        every = [table["claimed_speedup"], *(table[name].astype(float) for name in ends)]
        _ratio_axis(speed, pd.concat(every), "Speed-up over the\nfp32 teacher (×)", 1)
        size.set_yticks(y, names)
        size.set_ylim(len(table) - 0.5, -0.5)
        claimed = mark("claimed", "d", markerfacecolor="white", markersize=6)
        measured = mark("measured (batch 1)", "o", markerfacecolor=INK, markersize=5)
        handles = [claimed, measured, _speed_handles()[1]]
        figure.legend(handles=handles, loc="outside upper right", ncols=3)
    return figure


def _draw_claims(ax: Axes, y: Any, claimed: pd.Series, measured: pd.Series) -> None:
    ax.hlines(y, claimed.astype(float), measured.astype(float), color="0.6", lw=1.2, zorder=1.5)
    look: dict[str, Any] = {"ms": 8, "mfc": "white", "mec": INK, "mew": 0.8, "zorder": 2.5}
    ax.plot(claimed.astype(float), y, "d", clip_on=False, **look)
