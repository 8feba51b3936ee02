"""Time limits as Slurm writes them, and the YAML that leaves them as they are written."""

import math
import re
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator

_FORMS = (
    r"(?P<minutes>\d+)",
    r"(?P<minutes>\d+):(?P<seconds>\d{1,2})",
    r"(?P<hours>\d+):(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2})",
    r"(?P<days>\d+)-(?P<hours>\d{1,2})(:(?P<minutes>\d{1,2})(:(?P<seconds>\d{1,2}))?)?",
)
_SECONDS = {"days": 24 * 60 * 60, "hours": 60 * 60, "minutes": 60, "seconds": 1}
_SIXTIES = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


def parse_minutes(value: Any) -> Any:
    """Return the minutes of a time limit, rounded up: a number, or text as sbatch takes it.

    `30`, `30:00` (minutes:seconds), `4:00:00`, `1-12` (days-hours), `1-12:30`, `1-12:30:00`; see
    `--time` in https://slurm.schedmd.com/sbatch.html.
    """
    if not isinstance(value, str | bool):
        return value
    for form in _FORMS:
        if found := re.fullmatch(form, str(value).strip()):
            parts = {name: int(text) for name, text in found.groupdict().items() if text}
            return math.ceil(sum(_SECONDS[name] * count for name, count in parts.items()) / 60)
    raise ValueError("must be minutes, or a time as Slurm writes it: 4:00:00 or 1-12:00:00")


Minutes = Annotated[int, BeforeValidator(parse_minutes)]


def duration_text(minutes: int) -> str:
    """Return a time limit both ways, so that a slip of the pen shows: `240 min (4:00:00)`."""
    days, rest = divmod(minutes, 24 * 60)
    hours, minute = divmod(rest, 60)
    clock = f"{hours:02d}:{minute:02d}:00" if days else f"{hours}:{minute:02d}:00"
    return f"{minutes} min ({f'{days}-' if days else ''}{clock})"


class PlainLoader(yaml.SafeLoader):
    """YAML 1.1 but for its numbers to the base 60: it reads `4:00:00` as 14400, this as text."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """Return the tag of a node; see `yaml.resolver.BaseResolver.resolve`."""
        if kind is yaml.ScalarNode and implicit[0] and _SIXTIES.fullmatch(value):
            return "tag:yaml.org,2002:str"
        tag: str = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        return tag
