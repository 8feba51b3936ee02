"""A user's folder and shell, in which a page's commands run as they are written.

Small stand-ins are at the places that the pages name, and three things are made smaller: a sweep
has six trials, its timings few rounds, and a cluster profile means this machine.
"""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.docs.pages import ROOT, Block

TIMEOUT_S = 900
# What a page asks for, and what a tiny model that nobody trained can give.
SMALLER = {
    "--trials 40": "--trials 8",
    "--max-accuracy-drop 0.01": "--max-accuracy-drop 0.99",
    "--min-speedup 4": "--min-speedup 0.01",
    "--min-speedup 8": "--min-speedup 0.01",
}
PROGRAMS = {
    "lmopt": """\
if [ "$1" = dashboard ]; then exec "{python}" -m tests.docs.until_seen "$@"; fi
exec "{python}" -P -m sweeps.cli "$@"
""",
    "python": 'exec "{python}" "$@"\n',
    "make": 'exec "{make}" --dry-run -C "{root}" "$@"\n',
}


@dataclass(frozen=True)
class User:
    """Somebody with a folder, in which commands of this project are at hand."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, block: Block) -> str:
        """Run a block of shell or Python to its end; return what it printed."""
        text = block.text
        for asked, given in SMALLER.items():
            text = text.replace(asked, given)
        shell = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else ["python", "-c"]
        done = subprocess.run(
            [*shell, text], cwd=self.folder, env=dict(self.environment), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=TIMEOUT_S,
        )  # fmt: skip
        where = f"{block.page}, line {block.line}"
        assert done.returncode == 0, f"{where}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{where}\n{done.stderr}"
        return done.stdout

    def write(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a file that a page shows, made smaller."""
        if "scheduler" in values:
            values = {"scheduler": "local"}
        else:
            values = {
                **values,
                "study": {**values.get("study", {}), "trials": 6},
                "runtime": {"rounds_b1": 3, "rounds_b32": 3},
                "resources": {"workers": 2},
                "report": "tables",
            }
        (self.folder / name).write_text(yaml.safe_dump(values), encoding="utf-8")


def new_user(folder: Path, temporary: Path) -> User:
    """Return a user with an empty folder; `temporary` has a short path: sockets lie there."""
    programs = temporary / "bin"
    programs.mkdir(exist_ok=True)
    make = shutil.which("make") or "/usr/bin/make"  # not the one that is made here
    places = {"python": sys.executable, "make": make, "root": ROOT}
    for name, text in PROGRAMS.items():
        path = programs / name
        path.write_text("#!/bin/sh\n" + text.format(**places))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (folder / "slurm").symlink_to(ROOT / "slurm")
    (folder / "sweeps").symlink_to(ROOT / "sweeps")
    search = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(search),
        "PYTHONSAFEPATH": "1",  # the links in the folder are no packages
        "TMPDIR": str(temporary),
        "COLUMNS": "80",
        "NO_COLOR": "1",
        "LMOPT_DEBUG": "",
    }
    return User(folder, environment)
