"""The methods of a row, their settings, and the parameters that had no effect."""

import json
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import Any

import pandas as pd

from analysis.rows import schema1
from analysis.rows.records import records


def recipe_of(row: Mapping[str, Any] | pd.Series) -> dict[str, Any]:
    """The row's recipe; its searched parameters where it has no recipe; empty where neither."""
    text = row.get("recipe_json")
    if isinstance(text, str):
        return dict(json.loads(text))
    prefix = "param_"
    return {
        str(name).removeprefix(prefix): value
        for name, value in row.items()
        if str(name).startswith(prefix) and not pd.isna(value)
    }


def method_settings(row: Mapping[str, Any] | pd.Series) -> dict[str, str]:
    """Return the methods that a row's recipe uses, in their order, with their settings as text."""
    methods, settings = row.get("methods"), row.get("settings")
    if methods is None or settings is None or isinstance(methods, float):  # NaN: schema 1
        return schema1.method_settings(recipe_of(row))
    return dict(zip(map(str, methods), map(str, settings), strict=True))


def method_order(used: Iterable[Iterable[str]]) -> list[str]:
    """Return all methods of some rows in the order that the rows have them in."""
    order = TopologicalSorter[str]()
    for methods in used:
        names = list(methods)
        for name in names[:1]:
            order.add(name)
        for before, after in pairwise(names):
            order.add(after, before)
    return list(order.static_order())


def effective_parameters(models: pd.DataFrame) -> pd.DataFrame:
    """The models with the searched parameters that had no effect left blank."""
    kept = had_effect(models)
    idle = [str(name) for name in kept if not kept[name].all()]
    return models.assign(**{name: models[name].where(kept[name]) for name in idle})


def had_effect(models: pd.DataFrame) -> pd.DataFrame:
    """Return whether each `param_` column decided anything, model by model."""
    names = [str(name) for name in models if str(name).startswith("param_")]
    kept = pd.DataFrame(True, models.index, names)
    for index, row in zip(models.index, records(models), strict=True):
        idle = row.get("idle_parameters")
        for name in names:
            field = name.removeprefix("param_")
            if idle is None or isinstance(idle, float):  # NaN: schema 1
                kept.loc[index, name] = schema1.has_effect(field, row[name], recipe_of(row))
            else:
                kept.loc[index, name] = field not in idle
    return kept


def with_methods(models: pd.DataFrame) -> pd.DataFrame:
    """Return the models with `settings` (method -> text) and `methods` (a tuple)."""
    settings = [method_settings(row) for row in records(models)]
    columns = {"settings": settings, "methods": [tuple(used) for used in settings]}
    return models.assign(
        **{name: pd.Series(values, models.index, dtype=object) for name, values in columns.items()}
    )


def describe(settings: Mapping[str, str]) -> str:
    """All settings in one line; the untouched teacher by that name."""
    return ", ".join(settings.values()) or "untouched"
