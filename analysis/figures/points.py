"""What a figure shows of the rows: points in the units shown, their bars, names and limits."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.rows.metrics import drop_of, metric_column
from analysis.rows.recipes import recipe_of
from analysis.rows.records import records
from analysis.rows.seeds import seedless
from analysis.rows.units import display_of
from analysis.selection.fronts import front_rows
from analysis.selection.objectives import candidates, objective_values, quality_objective, reported
from analysis.selection.recommendation import best_combination
from analysis.statistics.pareto import front_mask
from analysis.statistics.uncertainty import critical_value

BEST = "best combination"
CODEBOOK = -1  # weights share a few values: no bit-width says what they are
BITS = (32, 16, 8, 4, 3, 2, CODEBOOK, 0)  # 0: unknown
_WINDOW_POINTS = 15.0  # what is further under the best than this is drawn at the lower edge


def figure_points(rows: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """The completed models with what is drawn of them: `y`, its bar, `bits`, `label`, `on_front`.

    `y` is the reported quality in the units shown.
    """
    quality = quality_objective(objectives)
    models = candidates(rows).reset_index(drop=True)
    column = reported(quality, rows)
    return models.assign(
        y=_shown(models, column),
        y_bar=interval_factors(models, column)
        * _standard_error(models, column)
        * display_of(column).factor,
        bits=_bits(models),
        label=model_labels(models, rows, objectives),
        on_front=models["trial"].isin(front_rows(rows, objectives)["trial"]),
    ).dropna(subset="y")


def model_labels(
    models: pd.DataFrame, rows: pd.DataFrame, objectives: Mapping[str, str]
) -> pd.Series:
    """What a figure calls its models: the best combination, and reference points by their name.

    Seeds of one recipe share a name, which their first model bears; most models have none.
    """
    best, _ = best_combination(rows, objectives)
    named = models["kind"].eq("reference") & ~seedless(models).duplicated()
    names = models["method"].where(named)
    return names.mask(models["trial"].isin(best["trial"]), BEST).replace("baseline", "teacher")


def panel_points(
    points: pd.DataFrame, name: str, quality: str, objectives: Mapping[str, str]
) -> pd.DataFrame:
    """Points of one panel by `x`, with its interval, and which of them the line goes through."""
    pair = {key: objectives[key] for key in (quality, name)}
    x = _shown(points, name)
    low, high = (
        _shown(points, f"{name}{end}").fillna(x) if f"{name}{end}" in points else x
        for end in ("_low", "_high")
    )
    mask = front_mask(objective_values(points, pair), list(pair.values()))
    panel = points.assign(x=x, x_low=x - low, x_high=high - x, on_line=mask)
    panel = panel[panel["x"] > 0] if display_of(name).log else panel.dropna(subset="x")
    return panel.sort_values("x")


def _shown(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column in the units it is shown in; the interval's ends in those of their middle."""
    values: pd.Series = frame[name].astype("Float64").astype(float)
    return values * display_of(name.removesuffix("_low").removesuffix("_high")).factor


def _standard_error(models: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Of the difference to the teacher in pairs; of the value where there is none; else zero."""
    for name in (f"{drop_of(column)}_se", f"{column}_se"):
        if name in models and models[name].notna().any():
            return models[name].fillna(0).to_numpy(dtype=float)
    return np.zeros(len(models))


def interval_factors(models: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Standard errors (n,) to each side of a 95 % interval, by the documents of the split."""
    metric = metric_column(column)
    groups = None if metric is None else models.get(f"groups_{metric.split}")
    if groups is None:
        return np.full(len(models), critical_value())
    # Of one document there is no standard error: zero times infinity is no bar.
    factors = [critical_value(count) for count in groups.astype("Float64").astype(float)]
    return np.where(np.isinf(factors), 0.0, factors)


def _bits(models: pd.DataFrame) -> list[int]:
    """How each model's weights are stored: CODEBOOK, their bit-width, or 0 where nothing says.

    By the canonical recipe: what was searched may have had no effect beside clusters.
    """
    says = [name for name in models if name == "recipe_json" or str(name).startswith("param_")]
    recipes = [recipe_of(row) for row in records(models[says])]
    return [_stored(recipe) for recipe in recipes]


def _stored(recipe: Mapping[str, object]) -> int:
    if recipe.get("clusters") is not None:
        return CODEBOOK
    bits = recipe.get("bits")
    return next((width for width in BITS if width > 0 and bits == width), 0)


def linear_quality(rows: pd.DataFrame, quality: str) -> float | None:
    linear = rows[rows["kind"].eq("linear") & rows["state"].eq("COMPLETE")]
    values = _shown(linear, reported(quality, rows)).dropna()
    return float(values.iloc[0]) if len(values) else None


def quality_limits(points: pd.DataFrame, linear: float | None, unit: str) -> tuple[float, float]:
    """Limits that show all that matters; a collapsed trial does not squeeze the rest.

    The models set them, with half of the front at least; the linear model's line may be outside.
    """
    y = points["y"].to_numpy(dtype=float)
    line = np.array([] if linear is None else [linear], dtype=float)
    if unit == "%" and len(y):
        best, middle = y.max(), points.loc[points["on_front"], "y"].median()
        lowest = np.nanmin([best - _WINDOW_POINTS, middle])
        y = y[y >= lowest]
        line = line[(line >= lowest) & (line <= best + _WINDOW_POINTS)]
    shown = np.append(y, line)
    if not len(shown):
        return 0.0, 100.0 if unit == "%" else 1.0
    low, high = float(shown.min()), float(shown.max())
    pad = max((high - low) * 0.18, 0.8 if unit == "%" else 1e-3)
    low, high = low - pad, high + pad
    # There is no accuracy above 100 %: room for a marker there, none for a number.
    return low, min(high, 100 + 0.06 * (100 - low)) if unit == "%" else high


def linear_label(linear: float, limits: tuple[float, float]) -> str:
    """The name of the linear model's line; where it is outside the panel, its value too."""
    inside = limits[0] <= linear <= limits[1]
    return "linear model (TF-IDF)" if inside else f"linear model (TF-IDF: {linear:.1f})"
