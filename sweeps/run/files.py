"""Small files of a run directory: atomic JSON, quoted paths."""

import json
import os
import shlex
from pathlib import Path
from typing import Any


def quoted(path: Path | str) -> str:
    """Return a path as it can be copied into a command."""
    return shlex.quote(str(path))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file so that it is either there whole or not at all."""
    text = json.dumps(value, indent=1, sort_keys=True, default=str)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None where there is none, or only a torn one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
