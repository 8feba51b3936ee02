"""What the methods give alone and together, and whether their gains multiply."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.rows.recipes import describe, method_order, with_methods
from analysis.selection.objectives import candidates, quality_objective
from analysis.selection.processors import main_processor
from analysis.selection.recommendation import TOLERANCE, within
from analysis.tables.methods_and_front import NUMBERS, with_share

GAINS = ("size_ratio", "speedup_b1", "speedup_b32")
MULTIPLY_WITHIN = 0.1  # of the product: nearer than that counts as equal
Matrix = NDArray[np.float64]


def subset_table(rows: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """One model for every subset of methods that was tried, singles first.

    Of a subset it is the smallest that is at most one point below the baseline on validation, else
    the best in quality; `rule` says which.

    Returns:
        `methods` (a tuple), `models` (how many were tried), `settings`, `rule`, and the model's
        numbers as in `analysis.tables.methods_and_front.method_table`, with `groups_test`.
    """
    rows = main_processor(rows, objectives)
    models = with_methods(candidates(rows))
    models = models[models[quality_objective(objectives)].notna()]
    models = with_share(models, rows)
    chosen = []
    for methods, group in models.groupby("methods", sort=False):
        model, rule = _choose(group, rows, objectives)
        chosen.append(model.assign(methods=[methods], models=len(group), rule=rule))
    if not chosen:
        return models.assign(models=0, rule="")[["methods", "models", "settings", "rule", *NUMBERS]]
    table = pd.concat(chosen)
    table["settings"] = [describe(settings) for settings in table["settings"]]
    order = sorted(range(len(table)), key=lambda i: (len(table["methods"].iloc[i]), i))
    groups = [name for name in ("groups_test",) if name in table]
    return table.iloc[order][
        ["methods", "models", "trial", "settings", "rule", *NUMBERS, *groups]
    ].reset_index(drop=True)


def untried_subsets(tried: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The subsets of the methods in `tried` that are not in it, small ones first."""
    methods = method_order(tried)
    every = [set(c) for n in range(1, len(methods) + 1) for c in combinations(methods, n)]
    known = [set(used) for used in tried]
    return [tuple(n for n in methods if n in one) for one in every if one not in known]


def untried_text(tried: Sequence[tuple[str, ...]], shown: int = 3) -> str:
    """The untried subsets in a sentence, the first few by name; empty where there are none."""
    untried = untried_subsets(tried)
    if not untried:
        return ""
    names = [" + ".join(one) if len(one) > 1 else f"{one[0]} alone" for one in untried]
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"Not tried: {', '.join(names[:shown])}{more}."


def _choose(
    group: pd.DataFrame, rows: pd.DataFrame, objectives: Mapping[str, str]
) -> tuple[pd.DataFrame, str]:
    """The model that stands for a subset, by what it is better in, and the rule in words."""
    near, quality = within(group, rows, objectives, TOLERANCE), quality_objective(objectives)
    sign = 1.0 if objectives[quality] == "minimize" else -1.0
    columns = {"size_bytes": 1.0, quality: sign, "speedup_b1": -1.0}
    values = group[list(columns)].astype("Float64").astype(float)
    costs = values * pd.Series(columns)
    if near.any():
        costs, order, rule = costs[near], list(columns), "smallest within 1 point"
    else:
        order, rule = [quality, "size_bytes", "speedup_b1"], "most accurate"
    return group.loc[costs.sort_values(order, kind="stable").index[:1]], rule


def gain_products(rows: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """Measured gains of the models that combine methods, and the product expected of them.

    Returns:
        One row per model of two or more methods and gain: `trial`, `methods`, `gain` (a column of
        GAINS), `measured` and `expected` (×, against the fp32 baseline), `basis`: "alone" where
        each method was measured alone at the very settings, so the product is of measured gains;
        "fitted" where one factor per setting was estimated from all other models (least squares
        of the logarithms, the model itself left out). What neither can say is left out.
    """
    models = with_methods(candidates(main_processor(rows, objectives)))
    models = models[models["methods"].map(len) > 0]
    tables = []
    for gain in GAINS:
        if gain in models and len(known := models[models[gain].astype(float) > 0]):
            tables.append(_products(known, gain))
    columns = ["trial", "methods", "gain", "measured", "expected", "basis"]
    table = pd.concat(tables) if tables else pd.DataFrame(columns=columns)
    return table.dropna(subset="expected").reset_index(drop=True)[columns]


def _products(models: pd.DataFrame, gain: str) -> pd.DataFrame:
    logs = np.log(models[gain].to_numpy(dtype=float))
    settings = [tuple(used.items()) for used in models["settings"]]
    alone: dict[tuple[str, str], list[float]] = {}
    for used, value in zip(settings, logs, strict=True):
        if len(used) == 1:
            alone.setdefault(used[0], []).append(value)
    measured_alone = np.array([all(item in alone for item in used) for used in settings])
    products = [
        sum(float(np.mean(alone[item])) for item in used) if known else np.nan
        for used, known in zip(settings, measured_alone, strict=True)
    ]
    expected = np.where(measured_alone, products, _left_out_fit(settings, logs))
    combined = models["methods"].map(len).to_numpy() > 1
    return pd.DataFrame(
        {
            "trial": models["trial"].to_numpy(),
            "methods": models["methods"].to_numpy(),
            "gain": gain,
            "measured": np.exp(logs),
            "expected": np.exp(expected),
            "basis": np.where(measured_alone, "alone", "fitted"),
        }
    )[combined]


def _left_out_fit(settings: list[tuple[tuple[str, str], ...]], logs: Matrix) -> Matrix:
    """Each value (n,) predicted by one summand per setting, fitted to all others; NaN: unknown.

    The baseline is 0 by definition, so there is no intercept. Source: the leave-one-out residual
    of linear regression is e / (1 - h), Cook and Weisberg (1982), section 2.2.
    """
    levels = {item: index for index, item in enumerate(dict.fromkeys(sum(settings, ())))}
    design = np.zeros((len(settings), len(levels)))
    for row, used in enumerate(settings):
        design[row, [levels[item] for item in used]] = 1.0
    hat = design @ np.linalg.pinv(design)
    leverage = np.diag(hat)
    with np.errstate(divide="ignore", invalid="ignore"):
        predicted = logs - (logs - hat @ logs) / (1 - leverage)
    # Without the row the settings of the others do not determine it.
    return np.where(leverage < 1 - 1e-9, predicted, np.nan)


def product_summary(products: pd.DataFrame) -> pd.DataFrame:
    """Per gain and basis: how far what was measured is from the product, and that in words.

    Returns:
        `gain`, `basis`, `models`, `median`, `low`, `high` (median and the middle 90 % of measured
        over expected), `finding`.
    """
    summary = []
    for (gain, basis), group in products.groupby(["gain", "basis"], sort=False):
        ratio = group["measured"] / group["expected"]
        low, median, high = ratio.quantile([0.05, 0.5, 0.95])
        summary.append(
            {
                "gain": gain,
                "basis": basis,
                "models": len(group),
                "median": median,
                "low": low,
                "high": high,
                "finding": _finding(str(basis), len(group), low, median, high),
            }
        )
    return pd.DataFrame(
        summary,
        columns=["gain", "basis", "models", "median", "low", "high", "finding"],
    )


def _finding(basis: str, models: int, low: float, median: float, high: float) -> str:
    band = f"within {100 * MULTIPLY_WITHIN:.0f} %"
    if basis == "fitted":  # the fit multiplies, so it is right on average: the spread is the test
        if max(high - 1, 1 / low - 1) <= MULTIPLY_WITHIN:
            return f"gains multiply (the middle 90 % {band})"
        return f"gains multiply only roughly: {low:.2f} to {high:.2f} of the product"
    if abs(median - 1) <= MULTIPLY_WITHIN:
        said = f"gains multiply ({band})"
    else:
        share = f"{median:.2f} of the product"
        said = f"together {'less' if median < 1 else 'more'} than the product: {share}"
    return f"{said}; one model only" if models == 1 else said
