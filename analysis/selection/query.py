"""Conditions and orders that a person types: `bits <= 4 and accuracy_validation > 0.85`."""

import re
from collections.abc import Iterable

import pandas as pd

from analysis.errors import UserError
from analysis.rows.metrics import metric_column
from analysis.rows.recipes import recipe_of
from analysis.rows.records import records
from analysis.rows.schema import COLUMNS
from analysis.rows.spelling import nearest_name
from analysis.selection.objectives import candidates

_PARAM = "param_"
_BETTER_HIGH = re.compile(r"speedup|size_ratio|agreement")
_LISTS = {column.name for column in COLUMNS if column.name.endswith("_samples_ms")}
_ASIDE = (
    *("seconds_", "examples_", "groups_", "baseline"),
    *(c.name for c in COLUMNS if c.group in ("provenance", "cost")),
    *(c.name for c in COLUMNS if c.group == "identity" and c.name not in ("trial", "method")),
)


def query_frame(models: pd.DataFrame) -> pd.DataFrame:
    """The models' columns by the names one types: every field of the recipe without its prefix."""
    recipes = [recipe_of(row) for row in records(models)]
    fields = pd.DataFrame(recipes, index=models.index)
    frame = models.drop(columns=[name for name in models if name in _LISTS])
    frame = frame[[name for name in frame if models[name].notna().any()]]
    added = {str(name): fields[name] for name in fields if name not in frame}
    searched = {
        str(name).removeprefix(_PARAM): frame[name]
        for name in frame
        if str(name).startswith(_PARAM)
    }
    frame = frame.assign(**{**added, **{k: v for k, v in searched.items() if k not in added}})
    return frame.apply(_plain)


def _plain(values: pd.Series) -> pd.Series:
    """Numbers as numpy has them: a missing one compares as false instead of as unknown."""
    if pd.api.types.is_bool_dtype(values.dtype) or not pd.api.types.is_numeric_dtype(values.dtype):
        numbers = pd.to_numeric(values, errors="coerce") if values.dtype == object else None
        if (
            numbers is None
            or not numbers.notna().any()
            or numbers.isna().sum() > values.isna().sum()
        ):
            return values
        return numbers.astype(float)
    return values.astype(float)


def matching(rows: pd.DataFrame, condition: str) -> pd.DataFrame:
    """The completed models that meet a condition, in the syntax of `pandas.DataFrame.query`.

    Raises:
        ValueError: an unknown column (with the nearest), a text that is no condition.
    """
    models = candidates(rows)
    frame = query_frame(models)
    try:
        mask = frame.eval(condition, engine="python", local_dict={}, global_dict={})
    except Exception as error:  # pandas raises what Python's parser and operators do
        raise UserError(_explain(condition, error, frame)) from None
    if not isinstance(mask, pd.Series) or not pd.api.types.is_bool_dtype(mask.dtype):
        raise UserError(
            f"{condition!r} is no condition: compare a column with a value, as in 'bits <= 4'; "
            f"{_columns(frame)}"
        )
    return models[mask.fillna(False).to_numpy(dtype=bool)]


def sorted_by(table: pd.DataFrame, models: pd.DataFrame, column: str) -> pd.DataFrame:
    """The table's rows (one per model, in order) by a column, the better end first.

    Larger is better for qualities and speed-ups, smaller for all else; a leading "-" turns it.

    Raises:
        ValueError: an unknown column.
    """
    frame = query_frame(models).reset_index(drop=True)
    name = column.removeprefix("-")
    values = frame[name] if name in frame else table.get(name)
    if values is None:
        raise UserError(f"no column {name!r}{_near(name, frame)}; {_columns(frame)}")
    ascending = _better_high(name) == column.startswith("-")
    order = values.reset_index(drop=True).sort_values(ascending=ascending, kind="stable").index
    return table.iloc[order].reset_index(drop=True)


def _better_high(name: str) -> bool:
    metric = metric_column(name)
    if metric is not None and metric.kind == "score" and not metric.is_error:
        return metric.display.direction == "maximize"
    return _BETTER_HIGH.match(name) is not None


def _explain(condition: str, error: Exception, frame: pd.DataFrame) -> str:
    found = re.search(r"name '([^']+)' is not defined", str(error))
    if found:
        return f"no column {found[1]!r} in {condition!r}{_near(found[1], frame)}; {_columns(frame)}"
    reason = " ".join(str(error).split("\n")[0].split())
    return f"cannot read {condition!r}: {reason}; {_columns(frame)}"


def _near(name: str, frame: pd.DataFrame) -> str:
    near = nearest_name(name, [str(column) for column in frame])
    return f", did you mean {near!r}?" if near else ""


def _columns(frame: pd.DataFrame) -> str:
    return f"columns: {', '.join(sorted(_unprefixed(frame)))}"


def _unprefixed(frame: pd.DataFrame) -> Iterable[str]:
    """The names worth telling: numbers and settings, not where and when a row came from."""
    names = (str(name) for name in frame)
    return (name for name in names if not name.startswith((_PARAM, *_ASIDE)) and name not in _LISTS)
