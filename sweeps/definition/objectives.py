"""What a trial can be judged by: columns of its row that the search may see, by task.

The search never sees the test split.
"""

from collections.abc import Iterable
from typing import Literal

from analysis.rows.metrics import ACCURACY, drop_column, score_column
from lmopt.tasks.base import Task
from lmopt.tasks.registry import TASKS

Direction = Literal["maximize", "minimize"]
SEEN = "validation"
_MEASURED: dict[str, Direction] = {
    "size_bytes": "minimize",
    "folder_bytes": "minimize",
    "parameters": "minimize",
    "latency_b1_p50_ms": "minimize",
    "latency_b32_p50_ms": "minimize",
    "speedup_b1": "maximize",
    "speedup_b32": "maximize",
}
# Metrics with a column of their own beside `score_<metric>_validation`, from schema 1 on.
_OWN = ("macro_f1",)


def objectives_of(task: Task) -> dict[str, Direction]:
    """Return the columns that a sweep over this task may optimize, with their better direction."""
    own: dict[str, Direction] = {}
    others: dict[str, Direction] = {}
    for metric in task.metrics:
        if metric.name in _OWN:
            own[f"{metric.name}_{SEEN}"] = metric.direction
        columns = own if metric.name == ACCURACY else others
        columns[score_column(metric.name, SEEN)] = metric.direction
    return own | _MEASURED | others


def constrainable_of(task: Task) -> tuple[str, ...]:
    """Return the columns that a sweep over this task may limit."""
    drops = [drop_column(metric.name, SEEN) for metric in task.metrics]
    return _unique([*objectives_of(task), *drops, "size_ratio"])


def default_objectives(task: Task) -> dict[str, Direction]:
    """Return what a sweep optimizes where its definition does not say: quality, size and speed."""
    main = task.metrics[0]
    return {
        score_column(main.name, SEEN): main.direction,
        "size_bytes": "minimize",
        "speedup_b1": "maximize",
    }


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


# Of all tasks together: what an editor completes.
OBJECTIVES: dict[str, Direction] = {
    name: direction for task in TASKS for name, direction in objectives_of(task).items()
}
CONSTRAINABLE = _unique(name for task in TASKS for name in constrainable_of(task))
