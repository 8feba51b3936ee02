"""Where a command writes: the terminal, JSON for scripts, and the stage that works now."""

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.cli.progress_line import Steps

UNBOUNDED = 10_000  # columns


def terminal(*, stderr: bool = False) -> "Console":
    """Return the terminal; rich leaves colour out when piped or with NO_COLOR.

    A pipe is as wide as its lines need: only a screen has an edge.
    """
    from rich.console import Console

    is_screen = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if is_screen else UNBOUNDED
    return Console(stderr=stderr, highlight=False, soft_wrap=False, width=width)


def steps() -> "Steps":
    """Return a display of the stage that works now, on the error stream."""
    from sweeps.cli.progress_line import Steps

    return Steps(terminal(stderr=True))


def print_json(value: Any) -> None:
    """Print plain values for scripts."""
    print(json.dumps(value, indent=2, default=str))
