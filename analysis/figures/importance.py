"""The figure of importance: how much each objective depends on each searched parameter."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import INK, SOFT, THEME, empty_panel, new_figure, short_label
from analysis.rows.units import display_of
from analysis.tables.parameter_importance import FEWEST_TRIALS

_NOTE = (
    "How much R² on held-out trials falls when one parameter is shuffled: a random forest, 5 "
    "folds; bars: ± one standard error. It says what this sampler's trials depend on within "
    "the ranges searched, not what causes what; {count} trials."
)


def importance_figure(table: pd.DataFrame, trials: int) -> Figure:
    """Draw one panel for each objective with the held-out importance of each parameter.

    Args:
        table: The table of `analysis.tables.parameter_importance.parameter_importance`.
        trials: Number of searched trials behind it.
    """
    objectives = list(dict.fromkeys(table["objective"]))
    order = table.groupby("parameter")["importance"].sum().sort_values().index
    shape_in = (2.5, 0.24 * max(len(order), 3) + 0.9)
    note = _NOTE.format(count=trials)
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
            ax.set_title(short_label(objective, with_unit=False), fontsize=8.5)
            said = f"Fall of R² (forest: {r2:.2f})" if r2 > 0 else "the forest has learned nothing"
            ax.set_xlabel(said)
    return figure
