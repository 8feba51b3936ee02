"""What an error says of a trial or a job: its own failure, a lack of memory, or a bad place.

Trouble of the place is that of a node, a disk or a network: somewhere else, or later, the same work
succeeds. It is never the failure of a trial.
"""

import builtins
import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from slurm.job_process import Stopped
from sweeps.run.locks import LockError, is_without_locks, no_locks
from sweeps.run.rows import Row
from sweeps.study.healing import in_words

_ERROR_CHARACTERS = 500
_ELSEWHERE = (OSError, ImportError)
_NAMES = [
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, _ELSEWHERE)
]
# torch says what it lacks in a RuntimeError; a measuring process says its last line in one, too.
_NO_GPU_MEMORY = re.compile(
    r"(CUDA|HIP|XPU) (error: )?out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED"
)
_NO_MEMORY = re.compile(r"can't allocate memory|MemoryError|bad_alloc")
_BAD_PLACE = re.compile(
    r"No space left on device|Disk quota exceeded|Stale file handle|Input/output error"
    r"|Remote I/O error|Read-only file system|Too many open files|Transport endpoint"
    r"|PytorchStreamWriter failed"
    r"|Connection (refused|reset|aborted|timed out)|Network is unreachable|name resolution"
    r"|ConnectError|ConnectTimeout|ReadTimeout|LocalEntryNotFoundError"
    r"|No module named|cannot open shared object file|GLIBC\w*_[\d.]+' not found"
    r"|exit -(4|7)\b"  # SIGILL: another processor; SIGBUS: a mapped file that is gone
    r"|NVIDIA driver|CUDA driver|CUDA initialization|CUDA unknown error|no CUDA-capable device"
    r"|No CUDA GPUs|CUDA-capable device\(s\)|not compiled with CUDA"
    r"|CUDA error: (initialization error|system (not yet|has unsupported)"
    r"|unknown error|uncorrectable ECC|invalid device ordinal)"
    rf"|\b({'|'.join(_NAMES)})\b: "
)


class RunStoppedError(RuntimeError):
    """A run that needs a person: why it cannot go on, and the remedy, in one line."""


def result_of(error: Exception) -> Row:
    """Return the columns of the row of an attempt that ended with an error.

    A failure is final. What is LOST is tried again as the profile's `retries` allow: after a lack
    of memory with more of it, after one of GPU memory or trouble of the place with what there is.
    """
    cause = cause_of_error(error)
    if cause is None:
        return {"state": "FAIL", "error": _said(error)}
    said = _said(error) if cause == "place" else str(error)
    hint = "; lower batch_size" if cause == "out_of_gpu_memory" else ""
    words = f"{in_words(cause)}: {said}{hint}"
    return {"state": "LOST", "lost_cause": cause, "error": words}


def cause_of_error(error: BaseException) -> str | None:
    """Return the code of `lost_cause` for an error; None for a failure of the work itself."""
    if isinstance(error, RunStoppedError) or is_without_locks(error):
        return None
    found: BaseException | None = error
    while found is not None:
        if cause := _cause(found):
            return cause
        found = found.__cause__
    return None


def _cause(error: BaseException) -> str | None:
    words = f"{type(error).__name__}: {error}"
    if _NO_GPU_MEMORY.search(words):
        return "out_of_gpu_memory"
    if _NO_MEMORY.search(words) or getattr(error, "errno", None) == errno.ENOMEM:
        return "out_of_memory"
    if isinstance(error, _ELSEWHERE) or _BAD_PLACE.search(words):
        return "place"
    return None


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


@contextmanager
def clear_end() -> Iterator[None]:
    """Let a job's own exit record say what ended it, as far as that is known.

    A job that meets trouble of the place ends as PLACE_FAIL, and is repeated elsewhere.
    """
    try:
        yield
    except RunStoppedError as error:
        raise Stopped("FAILED", str(error)) from None
    except Exception as error:
        if is_without_locks(error):
            said = error if isinstance(error, LockError) else no_locks(None)
            raise Stopped("FAILED", str(said)) from error
        if cause_of_error(error) != "place":
            raise
        line = " ".join(f"{in_words('place')}: {_said(error)}".split())
        raise Stopped("PLACE_FAIL", line[:_ERROR_CHARACTERS]) from error
