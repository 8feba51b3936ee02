"""What a command that works here and now is doing: on the error stream, so that output stays."""

from types import TracebackType

from rich.console import Console
from rich.status import Status


class Steps:
    """Shows each stage: live in a terminal, a line each in a pipe."""

    def __init__(self, console: Console) -> None:
        self._console, self._stage = console, ""
        self._status: Status | None = console.status("") if console.is_terminal else None

    def __enter__(self) -> "Steps":
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, stage: str, fraction: float | None) -> None:
        """Say which stage runs and which share of it is done."""
        shown = stage.replace("_", " ")
        if self._status is not None:
            share = "" if fraction is None else f" {100 * fraction:.0f} %"
            self._status.update(f"{shown}{share}")
        elif stage != self._stage:
            self._console.print(shown, style="dim")
        self._stage = stage
