"""Models of one recipe that differ in their seed only, and their means."""

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.rows.recipes import recipe_of
from analysis.rows.records import records


def seedless(models: pd.DataFrame) -> pd.Series:
    """Return each model's recipe without its seed, as text.

    A row without a recipe gets a text of its own.
    """
    texts = []
    for place, row in enumerate(records(models)):
        recipe = {name: value for name, value in recipe_of(row).items() if name != "seed"}
        texts.append(json.dumps(recipe or place, sort_keys=True))
    return pd.Series(texts, models.index, str)


def mean_of_seeds(models: pd.DataFrame, numbers: Sequence[str]) -> pd.DataFrame:
    """Return the first row of each recipe with the means of `numbers`, and the count as `seeds`.

    A failed model has no numbers and does not count as a seed; its `error` is kept. Ratios of times
    are averaged geometrically. A standard error holds the variance of the texts, which all seeds
    share, and the variance of the seeds divided by their number.
    """
    if models.empty:
        return models.assign(seeds=0)
    parts = [_mean(part, numbers) for _, part in models.groupby(seedless(models), sort=False)]
    return pd.concat(parts)


def _mean(models: pd.DataFrame, numbers: Sequence[str]) -> pd.DataFrame:
    first = models.head(1).assign(seeds=int(models["state"].eq("COMPLETE").sum()))
    if len(models) == 1:
        return first
    first["error"] = next(iter(models["error"].dropna()), None)
    values = models[[name for name in numbers if name in models]].astype(float)
    for name in map(str, values):
        if name.startswith("speedup_"):
            first[name] = np.exp(np.log(values[name]).mean())
        elif name.endswith("_se"):
            between = values[name.removesuffix("_se")].var() / values[name].count()
            first[name] = np.sqrt((values[name] ** 2).mean() + between)
        else:
            first[name] = values[name].mean()
    return first
