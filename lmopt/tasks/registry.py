"""The tasks, in order; the first is what a definition means that names none."""

from lmopt.errors import UserError
from lmopt.tasks.base import Task
from lmopt.tasks.classification import Classification

TASKS: tuple[Task, ...] = (Classification(),)


def task_of(kind: str) -> Task:
    """Return the task that `task.kind` of a definition names.

    Raises:
        ValueError: There is no such task; the known ones are named.
    """
    for task in TASKS:
        if task.kind == kind:
            return task
    known = ", ".join(task.kind for task in TASKS)
    raise UserError(f"task.kind must be one of {known}, got {kind!r}")
