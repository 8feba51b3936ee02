"""`lmopt compare`: two runs of one task, their fronts and volumes side by side."""

from typing import Any

from rich.console import Console
from rich.text import Text

from analysis.comparison import Comparison, compare_runs
from analysis.report import to_records
from lmopt.config import EXTRA_TEXT
from sweeps.config import ConfigError
from sweeps.display import compared_view
from sweeps.report import finished_rows
from sweeps.run import Run

# What must be equal for two runs' numbers to mean the same; the search may differ in everything.
_SAME = ("task", "teacher", "objectives")


def compare(first: Run, second: Run) -> Comparison:
    """Compare two runs.

    Raises:
        ConfigError: Different tasks, teachers or objectives, the first difference named; or no
            finished trial.
        ValueError: Rows that are relative to different baselines all the same.
    """
    if first.path == second.path:
        raise ConfigError(f"{first.path} is given twice; name two runs")
    for section in _SAME:
        if (a := _section(first, section)) != (b := _section(second, section)):
            key = next(name for name in {**a, **b} if a.get(name) != b.get(name))
            raise ConfigError(
                f"{section}.{key} is {_said(a.get(key))} in {first.path} and {_said(b.get(key))} "
                f"in {second.path}: sizes, drops and speed-ups of different tasks or baselines do "
                "not compare; compare runs that differ in search, recipe or study only"
            )
    names = [first.name, second.name]
    if names[0] == names[1]:
        names = [str(run.path) for run in (first, second)]
    rows = {name: finished_rows(run) for name, run in zip(names, (first, second), strict=True)}
    return compare_runs(rows, first.sweep.objectives)


def _section(run: Run, name: str) -> dict[str, Any]:
    value = getattr(run.sweep, name)
    if isinstance(value, dict):
        return dict(value)
    return dict(value.model_dump(mode="json", exclude=EXTRA_TEXT))


def _said(value: object) -> str:
    return "not set" if value is None else str(value)


def to_json(found: Comparison) -> dict[str, Any]:
    """Return plain values for scripts."""
    return {
        "runs": {
            name: {
                "hypervolume": found.hypervolumes[name],
                "dominated": int(front["dominated_by"].notna().sum()),
                "front": to_records(front),
            }
            for name, front in found.fronts.items()
        },
        "judged_on": found.judged_on,
        "warning": found.warning,
    }


def print_comparison(found: Comparison, console: Console) -> None:
    """Print both fronts, and in a few lines what they say of each other."""
    (first, a), (second, b) = found.fronts.items()
    for name, other, front in ((first, second, a), (second, first, b)):
        title = f"Front of {name}; behind: the trial of {other} that dominates it"
        console.print(compared_view(front, title=title))
    for name, front, other in ((first, a, second), (second, b, first)):
        behind = int(front["dominated_by"].notna().sum())
        line = Text(f"{name}: ", style="bold")
        line.append(f"hypervolume {found.hypervolumes[name]:.4f}; ", style="")
        line.append(f"{behind} of {len(front)} front points are dominated by {other}", style="")
        console.print(line)
    console.print(
        Text(
            f"One reference point for both: the baseline. Judged on {', '.join(found.judged_on)}, "
            "as measured; better in speed alone counts where the 95 % intervals are apart. A "
            "difference of accuracy within a standard error is no difference, and is not left out.",
            style="dim",
        )
    )
    if found.warning:
        console.print(Text(found.warning, style="yellow"))
