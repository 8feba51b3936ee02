"""Whether locks of a folder's files keep another process out: `python -m ... FILE` is the other."""

import subprocess
import sys
import tempfile
from pathlib import Path

from sweeps.run.locks import LockedError, locked

FREE, HELD = "free", "held"


def why_no_locks(folder: Path) -> str | None:
    """Lock a file in a folder from two processes; return what is wrong with it, None if nothing is.

    Raises:
        OSError: The folder cannot be written, or has no locks at all.
    """
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as made:
        path = Path(made) / "lock"
        with locked(path, 5):
            meanwhile = _ask_another_process(path)
        afterwards = _ask_another_process(path)
    if (meanwhile, afterwards) == (HELD, FREE):
        return None
    if meanwhile == FREE:
        return "a lock that one process held was given to another"
    return f"another process cannot lock files there: {afterwards}"


def _ask_another_process(path: Path) -> str:
    command = [sys.executable, "-P", "-m", "sweeps.preflight.lock_check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def try_lock(path: Path) -> str:
    """Return whether a file's lock is free or held by another process."""
    try:
        with locked(path, 0):
            return FREE
    except LockedError:
        return HELD


if __name__ == "__main__":
    print(try_lock(Path(sys.argv[1])))
