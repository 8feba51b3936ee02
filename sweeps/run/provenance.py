"""Where a run comes from: code, versions, machine."""

import functools
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lmopt.runtimes.registry import PACKAGES as OF_RUNTIMES

PACKAGES = (
    "lmopt", "torch", "transformers", "datasets", "optuna", "submitit", "numpy", "pandas",
    "pyarrow", "scikit-learn",
)  # fmt: skip


def collect() -> dict[str, Any]:
    """Return what a run directory keeps of its origin."""
    return {
        "git_commit": code_commit(),
        "versions": versions(),
        "python": platform.python_version(),
        "host": platform.node(),
        "platform": platform.platform(),
        "command": sys.argv,
        "created_utc": datetime.now(UTC).isoformat(),
    }


def versions() -> dict[str, str]:
    """Return the installed versions of the libraries that a result depends on."""
    found = {}
    for name in dict.fromkeys((*PACKAGES, *OF_RUNTIMES)):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def code_commit() -> str | None:
    """Return the commit of the code, with "-dirty" if it was changed; None outside a checkout.

    It stays what it was when a process asked first: a checkout may move on under a long job.
    """
    folder = Path(__file__).parent
    try:
        # An installed copy may lie in somebody else's checkout (a .venv in theirs).
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    return done.stdout.strip()
