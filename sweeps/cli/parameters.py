"""The short names of searched parameters, and a trial's settings in a few words."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.rows.recipes import had_effect
from analysis.rows.records import Row
from lmopt.methods.recipe import Recipe

PREFIX = "param_"  # of a searched parameter's column


def parameter_columns(columns: Sequence[object]) -> list[str]:
    """Return the columns of searched parameters in the order of a recipe's fields."""
    order = [PREFIX + name for name in Recipe.model_fields]
    names = [str(name) for name in columns if str(name).startswith(PREFIX)]
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def short_name(column: str) -> str:
    """Return the header of a searched parameter's column where there is little room."""
    name = column.removeprefix(PREFIX)
    return Recipe.shown(name).get("header", name) if name in Recipe.model_fields else name


def settings(row: Row) -> dict[str, str]:
    """Return the searched parameters that had an effect, column by column, with their values.

    If all of them are at a value that leaves the model as it is, these are returned.
    """
    done, off = dict[str, str](), dict[str, str]()
    kept = had_effect(pd.DataFrame([dict(row)])).iloc[0]
    for column in parameter_columns(list(row)):
        value = row.get(column)
        if value is not None and not pd.isna(value) and kept[column]:
            shown = off if _is_off(column.removeprefix(PREFIX), value) else done
            shown[column] = f"{value:.3g}" if isinstance(value, float) else str(value)
    return done or off


def _is_off(name: str, value: Any) -> bool:
    """Return whether a searched field at this value leaves the model as it is."""
    if name not in Recipe.model_fields:
        return False
    method = Recipe.method_of(name)
    return name in method.switches and bool(value == method.off(name))


def settings_text(row: Row) -> str:
    """Return a trial's settings as text, "lay 2 bits 4"."""
    return " ".join(f"{short_name(column)} {value}" for column, value in settings(row).items())
