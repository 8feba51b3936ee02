"""Where a run comes from: code, versions, machine."""

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "lmopt", "torch", "transformers", "datasets", "optuna", "submitit", "openvino", "nncf",
    "onnx", "onnxruntime", "numpy", "pandas", "pyarrow", "scikit-learn",
)  # fmt: skip


def collect() -> dict[str, Any]:
    """Return what a run directory keeps of its origin."""
    commit, dirty = git_state(Path(__file__).parent)
    return {
        "git_commit": commit and commit + ("-dirty" if dirty else ""),
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
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> tuple[str | None, bool]:
    """Return the commit of the code and whether it was changed since; None outside a checkout."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit, bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None, False


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    return done.stdout.strip()
