"""How a column of the results is shown to people: its label, unit and scale, and its numbers."""

import re
from dataclasses import dataclass

import pandas as pd

from analysis.rows.metrics import ACCURACY, metric_column
from analysis.rows.schema import unit_of

_DERIVED_UNITS = {  # of columns that tables make
    "size_share": "share",
    "claimed_size_share": "share",
    "claimed_speedup": "×",
}
_Shown = tuple[str, float, int | None]  # unit, factor, decimals
_SHOWN: dict[str, _Shown] = {  # by the unit of the column
    "share": ("%", 100.0, 1),
    "difference of shares": ("points", 100.0, 1),
    "bytes": ("MB", 1e-6, 1),
    "×": ("×", 1.0, 1),
    "ms": ("ms", 1.0, 2),
    "s": ("s", 1.0, 0),
    "nats": ("nats", 1.0, 3),
    "parameters": ("M", 1e-6, 2),
    "MACs": ("M", 1e-6, 1),
}
_LABELS = {
    "accuracy": "accuracy",
    "accuracy_drop": "drop",
    "size_bytes": "model size",
    "folder_bytes": "folder size",
    "size_share": "size",
    "latency_p50_ms": "median latency",
    "latency_p90_ms": "latency, 90th percentile",
    "speedup": "speed-up over the fp32 teacher",
    "speedup_vs_16": "speed-up over the 16-bit teacher",
    "macs": "multiply-accumulates",
}


def counted(count: int, noun: str) -> str:
    """A number with its noun: "1 trial", "1,200 trials"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


@dataclass(frozen=True)
class Display:
    """`factor` times the column's value is in `unit`; ratios, bytes and times read best in logs.

    `decimals` is None for a number that is written as it is, to three digits.
    """

    label: str
    unit: str
    factor: float
    decimals: int | None
    log: bool

    @property
    def axis_label(self) -> str:
        """Label with unit, first letter capital."""
        label = self.label[0].upper() + self.label[1:]
        return f"{label} ({self.unit})" if self.unit else label


def display_of(name: str, rows: pd.DataFrame | None = None) -> Display:
    """Return how the column `name` is shown; an unknown one by its name, as it is.

    `rows` say the units and labels of searched parameters, if they are of a run.
    """
    if name.startswith("param_"):
        shown = {} if rows is None else rows.attrs.get("shown", {}).get(name, {})
        label = shown.get("label", _label(name))
        return Display(label, shown.get("unit", ""), 1.0, None, log=False)
    source = _DERIVED_UNITS.get(name) or unit_of(name)
    unit, factor, decimals = _SHOWN.get(source, ("", 1.0, None))
    return Display(_label(name), unit, factor, decimals, log=source in {"bytes", "×", "ms", "s"})


def _label(name: str) -> str:
    column = metric_column(name)
    if column is not None and column.metric != ACCURACY:
        drop = " drop" if column.kind == "drop" else ""
        return f"{column.split} {column.display.label}{drop}"
    stem, *split = re.split(r"_(validation|test)$", name)[:2]
    batch = re.search(r"_b(\d+)", stem)
    stem = re.sub(r"_b\d+", "", stem)
    label = _LABELS.get(stem, stem.removeprefix("param_").replace("_", " "))
    return " ".join([*split, label]) + (f", batch {batch[1]}" if batch else "")


def format_value(name: str, value: object, error: object = None) -> str:
    """The number as text: "4.0 %", "9.7×", with its error "87.9 ± 0.5", an absent one "–"."""
    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return "–"
    shown = display_of(name)
    if isinstance(value, str | bool) or shown.decimals is None:
        return f"{value:.3g}" if isinstance(value, float) else str(value)
    scaled = float(value) * shown.factor  # type: ignore[arg-type]
    # Adding 0.0 takes the sign off a zero: a drop of -0.0 points reads like a mistake.
    number = f"{round(scaled, shown.decimals) + 0.0:.{shown.decimals}f}"
    small = {"MB": 1.0, "%": 0.05}.get(shown.unit, 0.0)  # a linear model has kilobytes, not nothing
    if scaled > 0 and round(scaled, shown.decimals) < small:
        number = f"{scaled:.2g}"
    if error is not None and not pd.isna(error):  # type: ignore[call-overload]
        return f"{number} ± {float(error) * shown.factor:.{shown.decimals}f}"  # type: ignore[arg-type]
    return number + {"%": " %", "×": "×"}.get(shown.unit, "")
