"""How a command ends: a mistake or an outage is one line, a defect of lmopt a traceback."""

import errno
import os
import subprocess
import sys

import pytest

import analysis.errors
import lmopt.errors
from slurm.commands import SilentControllerError
from slurm.errors import SchedulerError
from slurm.profile import ProfileError
from slurm.submit import SubmissionError
from sweeps.cli.failures import DEFECT, in_words, print_failure
from sweeps.definition.errors import ConfigError
from sweeps.export.verify import ExportError

MAIN = """
import sys
import sweeps.preflight.check as check
def broken(*_):
    {statement}
check.plan = broken
sys.argv = ["lmopt", "check", "sweep.yaml"]
from sweeps.cli.app import main
main()
"""


def check_that(statement: str) -> subprocess.CompletedProcess[str]:
    """Run `lmopt check` in a process of its own; its work is this statement."""
    code = MAIN.format(statement=statement)
    return subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("statement", "last"),
    [
        ("raise ValueError('x must be (n,)')", "ValueError: x must be (n,)"),
        ("raise RuntimeError('torch says no')", "RuntimeError: torch says no"),
        ("{}['gone']", "KeyError: 'gone'"),
    ],
)
def test_a_defect_shows_its_traceback_and_asks_for_a_report(statement: str, last: str) -> None:
    done = check_that(statement)
    assert done.returncode == 1 and not done.stdout
    lines = done.stderr.splitlines()
    assert lines[0].startswith("Traceback") and any("in broken" in line for line in lines)
    assert lines[-2:] == [last, DEFECT]
    assert DEFECT.startswith("this is a defect of lmopt: please report it with ")


def test_a_mistake_that_is_raised_deep_inside_is_one_line() -> None:
    done = check_that("from lmopt.errors import UserError; raise UserError('no column x')")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: no column x\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (lmopt.errors.UserError("said"), 2),
        (analysis.errors.UserError("said"), 2),
        (ProfileError("said"), 2),
        (SubmissionError("said"), 2),
        (ConfigError("said"), 2),
        (SilentControllerError("said"), 1),
        (SchedulerError("said"), 1),
        (ExportError("said"), 1),
        (OSError("said"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_defect_is_one_line(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_failure(error) == code
    assert capsys.readouterr() == ("", "error: said\n")


def test_each_mistake_in_a_definition_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_failure(ConfigError("one\ntwo")) == 2
    assert capsys.readouterr().err == "error: one\nerror: two\n"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EROFS, "/x/study.lock: read-only file system; runs need a disk that can be"),
        (errno.ENOSPC, "/x/study.lock: no space left on device; 'lmopt disk RUN --prune' frees"),
        (errno.EIO, "/x/study.lock: input/output error"),
    ],
)
def test_what_the_system_refuses_is_said_in_words(number: int, said: str) -> None:
    assert in_words(OSError(number, os.strerror(number), "/x/study.lock")).startswith(said)
    assert in_words(OSError("only words")) == "only words"
