"""The columns of a task's metrics: their names, their units and which end is better.

A metric has a score, what it loses against the teacher in pairs (its drop), and a standard error of
each. Accuracy keeps the columns of its own that it had before there were other metrics.
"""

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

SCORE, DROP = "score_", "drop_"
ACCURACY = "accuracy"
_SHARE, _DIFFERENCE = "share", "difference of shares"
_COLUMN = re.compile(
    r"(?:(?P<kind>score|drop)_(?P<metric>\w+?)|(?P<own>accuracy|accuracy_drop|macro_f1))"
    r"_(?P<split>validation|test)(?P<error>_se)?"
)


class MetricDisplay(NamedTuple):
    """How a metric is shown: its label, the unit of its columns, and which end is better."""

    label: str
    unit: str
    direction: Literal["maximize", "minimize"]


# The metrics of `lmopt.tasks`, by name; a metric that is missing here is shown by its name, as it
# is, and larger counts as better.
METRICS: Mapping[str, MetricDisplay] = {
    ACCURACY: MetricDisplay("accuracy", _SHARE, "maximize"),
    "macro_f1": MetricDisplay("macro F1", _SHARE, "maximize"),
}


class MetricColumn(NamedTuple):
    """A column of a metric, taken apart; `is_error`: it holds the standard error of the other."""

    kind: Literal["score", "drop"]
    metric: str
    split: str
    is_error: bool

    @property
    def display(self) -> MetricDisplay:
        """How the metric is shown."""
        unknown = MetricDisplay(self.metric.replace("_", " "), "", "maximize")
        return METRICS.get(self.metric, unknown)

    @property
    def unit(self) -> str:
        """Unit of the column."""
        unit = self.display.unit
        return _DIFFERENCE if (self.kind, unit, self.is_error) == ("drop", _SHARE, False) else unit


def score_column(metric: str, split: str) -> str:
    """The column of a metric on a split; its standard error is there with `_se` at the end."""
    return f"{ACCURACY}_{split}" if metric == ACCURACY else f"{SCORE}{metric}_{split}"


def drop_column(metric: str, split: str) -> str:
    """The column of what a metric loses on a split; positive is worse for every metric."""
    return f"{ACCURACY}_drop_{split}" if metric == ACCURACY else f"{DROP}{metric}_{split}"


def metric_column(name: str) -> MetricColumn | None:
    """Take the name of a metric's column apart; None for any other column."""
    found = _COLUMN.fullmatch(name)
    if found is None:
        return None
    own = found["own"]
    kind = found["kind"] or ("drop" if own == f"{ACCURACY}_drop" else "score")
    metric = found["metric"] or own.removesuffix("_drop")
    return MetricColumn(kind, metric, found["split"], found["error"] is not None)  # type: ignore[arg-type]


def is_score(name: str, split: str | None = None) -> bool:
    """Whether a column holds a metric itself, on `split` if that is given."""
    column = metric_column(name)
    if column is None or column.kind != "score" or column.is_error:
        return False
    return split is None or column.split == split


def drop_of(score: str) -> str | None:
    """The column of what the metric of a score column loses; None for any other column."""
    column = metric_column(score)
    return drop_column(column.metric, column.split) if column and is_score(score) else None
