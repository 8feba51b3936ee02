"""The commit that a row names is the code's own, or none."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

from sweeps.run import provenance


def test_the_commit_is_that_of_the_checkout_the_code_is_tracked_in(tmp_path: Path) -> None:
    copy = tmp_path / "provenance.py"
    shutil.copy(provenance.__file__, copy)
    assert commit_of(copy) is None  # No checkout at all.

    git(tmp_path, "init", "-q")
    (tmp_path / "other.txt").write_text("somebody's own work")
    git(tmp_path, "add", "other.txt")
    commit(tmp_path)
    assert commit_of(copy) is None  # Somebody's checkout, in which lmopt is installed.

    git(tmp_path, "add", "provenance.py")
    commit(tmp_path)
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit_of(copy) == head
    (tmp_path / "other.txt").write_text("changed")
    assert commit_of(copy) == f"{head}-dirty"


def commit_of(path: Path) -> str | None:
    """As a new process would ask this file."""
    spec = importlib.util.spec_from_file_location("copied", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: str | None = module.code_commit()
    return found


def commit(folder: Path) -> None:
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "work")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
