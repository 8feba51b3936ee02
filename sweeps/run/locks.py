"""Locks of a run's files, which the kernel frees when their holder dies."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A file system without locks, as Lustre is if it is mounted without `-o flock`.
NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_POLL_S = 0.05


class LockError(OSError):
    """A file system that cannot lock files; the message says the remedy."""


class LockedError(OSError):
    """A lock that another process holds for longer than one waits."""


def no_locks(path: Path | str | None) -> LockError:
    """Return the error for a file system that cannot lock files."""
    where = f"{path}: " if path else ""
    return LockError(
        f"{where}the file system gives no locks, which runs and their cache need: mount it with"
        " them (Lustre: -o flock), or give --run-dir and --cache on another one; 'lmopt doctor"
        " --dir DIR' checks it"
    )


def is_without_locks(error: BaseException) -> bool:
    """Whether an error says that a file system cannot lock files, here or inside a library."""
    return (
        isinstance(error, LockError)
        or (isinstance(error, OSError) and error.errno in NO_LOCKS)
        or (isinstance(error, NotImplementedError) and "flock" in str(error))  # filelock's
    )


@contextmanager
def locked(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold the lock of a file, made if it is missing.

    Raises:
        LockedError: Another process holds it for all of `timeout_s`.
        LockError: The file system gives no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        deadline = time.monotonic() + timeout_s
        while not _try(descriptor, path):
            if time.monotonic() >= deadline:
                raise LockedError(f"{path} is locked by another process for {timeout_s:.0f} s")
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _try(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise no_locks(path) from None
        if error.errno == errno.EACCES:  # Some file systems say so of a lock that is held.
            return False
        raise
    return True
