"""Models of one recipe that differ in their seed only: which they are, and their mean."""

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.rows.recipes import recipe_of
from analysis.rows.records import records


def seedless(models: pd.DataFrame) -> pd.Series:
    """Each model's recipe but for the seed, as text; equal texts, one recipe.

    A row that does not say its recipe stands for itself.
    """
    texts = []
    for place, row in enumerate(records(models)):
        recipe = {name: value for name, value in recipe_of(row).items() if name != "seed"}
        texts.append(json.dumps(recipe or place, sort_keys=True))
    return pd.Series(texts, models.index, str)


def mean_of_seeds(models: pd.DataFrame, numbers: Sequence[str]) -> pd.DataFrame:
    """One row for each recipe, its first model's, with the mean of `numbers` and `seeds` in it.

    A model that failed has no numbers and counts as no seed, but its `error` is kept.
    Ratios of times are averaged as ratios are (geometrically). A standard error holds both kinds of
    luck: that of the texts, which all seeds share, and that of the seeds, over their number.
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
