"""The one type of a progress callback."""

from collections.abc import Callable

Progress = Callable[[str, float | None], None]
