"""`lmopt compare`: two runs of one task, their fronts and volumes side by side."""

from typing import Any

from analysis.rows.records import plain_records
from analysis.tables.comparison import Comparison, compare_runs
from lmopt.config.task import EXTRA_TEXT
from sweeps.definition.errors import ConfigError
from sweeps.report.build import finished_rows
from sweeps.run.directory import Run

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
                f"{section}.{key} is {said(a.get(key))} in {first.path} and {said(b.get(key))} "
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


def to_json(found: Comparison) -> dict[str, Any]:
    """Return plain values for scripts."""
    return {
        "runs": {
            name: {
                "hypervolume": found.hypervolumes[name],
                "dominated": int(front["dominated_by"].notna().sum()),
                "front": plain_records(front),
            }
            for name, front in found.fronts.items()
        },
        "judged_on": found.judged_on,
        "warning": found.warning,
    }


def said(value: object) -> str:
    return "not set" if value is None else str(value)
