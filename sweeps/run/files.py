"""Small files of a run directory: atomic JSON, quoted paths."""

import json
import shlex
from pathlib import Path
from typing import Any

from slurm.files import write_atomic


def quoted(path: Path | str) -> str:
    """Return a path as it can be copied into a command."""
    return shlex.quote(str(path))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file so that it is either there whole or not at all."""
    write_atomic(path, as_json(value))


def as_json(value: Any) -> str:
    """Return a value as the text of a JSON file."""
    return json.dumps(value, indent=1, sort_keys=True, default=str) + "\n"


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None where there is none, or only a torn one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
