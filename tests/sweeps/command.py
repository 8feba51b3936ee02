"""The `lmopt` command in the process of a test: `main` with its streams, exit codes and messages.

Starting an interpreter for every message costs more than all else that these tests do. Tests of the
start itself, of encodings and of signals run the command in a process of its own.
"""

import contextlib
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import pytest

from sweeps.cli.app import main

SILENT = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
PLAIN = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb", "LMOPT_DEBUG": ""}


def lmopt(
    *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command here; what it printed and its exit code are as those of a process."""
    command = ["lmopt", *map(str, arguments)]
    out, err = _stream(), _stream()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.resetwarnings()
        for category in SILENT:
            warnings.simplefilter("ignore", category)
        patch.setattr(sys, "excepthook", sys.excepthook)  # typer sets its own
        patch.setattr(warnings, "formatwarning", warnings.formatwarning)  # `main` sets its own
        patch.setattr(warnings, "showwarning", _show_warning)  # not into pytest's list of them
        patch.setattr(sys, "argv", command)
        patch.setattr(sys.modules["__main__"], "__package__", None)  # the program is argv[0]
        for name, value in {**PLAIN, **(env or {})}.items():
            patch.setenv(name, value)
        patch.chdir(cwd or Path.cwd())
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return subprocess.CompletedProcess(command, code, _text(out), _text(err))


def lmopt_process(
    *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-P", "-m", "sweeps.cli", *map(str, arguments)]
    environment = {**os.environ, **PLAIN, **(env or {})}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=500, env=environment, cwd=cwd
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a mistake is answered with."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and not done.stdout
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")
    return done.stderr


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object
) -> None:
    print(warnings.formatwarning(message, category, filename, lineno), end="", file=sys.stderr)
