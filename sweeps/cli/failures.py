"""How the command ends on an error: a line for a mistake or an outage, a traceback for a defect."""

import errno
import sys
import traceback

MISTAKE, FAILURE = 2, 1  # exit codes
DEFECT = (
    "this is a defect of lmopt: please report it with the lines above, the command and the "
    "output of 'lmopt --version'"
)
_REMEDIES = {
    errno.EACCES: "; look at its rights with 'ls -ld'",
    errno.EROFS: "; runs need a disk that can be written to",
    errno.ENOSPC: "; 'lmopt disk RUN --prune' frees what no run keeps",
    errno.EDQUOT: "; 'lmopt disk RUN --prune' frees what no run keeps",
}


def print_failure(error: Exception) -> int:
    """Print an error that ended a command on standard error; return the exit code.

    A user's mistake is one line each and code 2. What the machine, the scheduler or a check refused
    is one line each and code 1. Anything else is a defect of lmopt: the traceback, the line that
    asks for a report, and code 1.
    """
    from sweeps.definition.errors import MISTAKES, OUTAGES

    if not isinstance(error, (*MISTAKES, *OUTAGES)):
        traceback.print_exception(error)
        print(DEFECT, file=sys.stderr)
        return FAILURE
    for line in in_words(error).splitlines():
        print(f"error: {line}", file=sys.stderr)
    return MISTAKE if isinstance(error, MISTAKES) else FAILURE


def in_words(error: Exception) -> str:
    """Return the message of an error; a system's error without its number, with a remedy."""
    if not isinstance(error, OSError) or not error.strerror or error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror.lower()}{_REMEDIES.get(error.errno or 0, '')}"
