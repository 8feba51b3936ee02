"""Content-addressed stages: what exists is loaded, what is missing is built once.

A stage is a folder `<cache>/<name>/<key>/`; the key is the hash of the stage's name, version,
parameters and parents. It is built in a private folder and renamed in place, so that it is there
whole or not at all. A kernel lock (freed when its holder dies, kill -9 included) lets one of
several processes build while the others wait. `scratch` outlives a kill: a training stage keeps
its checkpoints there and resumes from them.

Any stage may be removed: it is built again when it is wanted. Who uses one holds a shared kernel
lock on `<key>.used`, whose time is that of the last use; removing takes that lock alone.
"""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from lmopt.hashing import content_hash

RECORD = "stage.json"
MAX_HELD = 64  # Stages that a process holds at once, each an open file; a trial needs about ten.
GONE = ".gone"  # Of a stage that is being removed.
Build = Callable[[Path, Path], None]
"""Writes the stage into a folder (first argument); the second one outlives a kill."""


@dataclass(frozen=True)
class Stage:
    """A built stage. `seconds` is what it cost this process; `cached`: somebody built it before."""

    name: str
    key: str
    path: Path
    seconds: float
    cached: bool


def run_stage(
    cache: Path,
    name: str,
    build: Build,
    *,
    version: int,
    parameters: Mapping[str, object],
    parents: Sequence[str] = (),
) -> Stage:
    """The stage with this content: loaded if it exists, else built by exactly one process.

    An exception in `build` (a full disk too) leaves nothing behind and is raised as it is; after
    a kill or Ctrl-C the scratch folder stays, and the next caller's `build` may resume from it.
    """
    start = time.perf_counter()
    key = content_hash([name, version, dict(parameters), list(parents)])
    path = cache / name / key
    cached = True
    while not hold(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                record = {"name": name, "version": version, "parents": list(parents)}
                _build(path, build, record | {"parameters": dict(parameters)})
                cached = False
    return Stage(name, key, path, time.perf_counter() - start, cached)


_held: dict[Path, int] = {}  # Descriptors of the stages in use, the one used last at the end.


def hold(path: Path) -> bool:
    """Keep a stage from being removed while this process may read it; False if it is not there.

    The newest `MAX_HELD` are held, until the process ends. In a cache that cannot be written
    nothing can be removed either, so nothing is locked.
    """
    if not path.exists():
        return False
    try:
        descriptor = os.open(_used(path), os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return path.exists()
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not path.exists():  # It was removed while we waited.
        os.close(descriptor)
        return False
    os.utime(descriptor)
    _release(path)
    _held[path] = descriptor
    while len(_held) > MAX_HELD:
        _release(next(iter(_held)))
    return True


def _release(path: Path) -> None:
    descriptor = _held.pop(path, None)
    if descriptor is not None:
        os.close(descriptor)


def _used(path: Path) -> Path:
    return path.with_name(f"{path.name}.used")


def last_used(path: Path) -> float:
    """When a stage was last asked for, in seconds since the epoch."""
    used = _used(path)
    return (used if used.exists() else path).stat().st_mtime


def remove_stage(path: Path) -> bool:
    """Remove a stage, unless another process uses it now; False if it does."""
    _release(path)
    descriptor = os.open(_used(path), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gone = path.with_name(path.name + GONE)
        shutil.rmtree(gone, ignore_errors=True)  # Of a remover that was killed.
        with contextlib.suppress(FileNotFoundError):
            path.rename(gone)  # At once: nobody ever sees half a stage.
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    shutil.rmtree(gone, ignore_errors=True)
    return True


def _build(path: Path, build: Build, record: dict[str, object]) -> None:
    """Build under the lock, in a private folder; rename it in place."""
    for leftover in path.parent.glob(f"{path.name}.build-*"):  # Of a builder that was killed.
        shutil.rmtree(leftover, ignore_errors=True)
    scratch = Path(f"{path}.scratch")
    folder = Path(tempfile.mkdtemp(prefix=f"{path.name}.build-", dir=path.parent))
    start = time.perf_counter()
    try:
        build(folder, scratch)
        record |= {"seconds": time.perf_counter() - start, "built_utc": datetime.now(UTC)}
        (folder / RECORD).write_text(json.dumps(record, indent=1, default=str))
        _sync(folder)
        _rename(folder, path)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, Exception):  # Not Ctrl-C: that one is resumed.
            shutil.rmtree(scratch, ignore_errors=True)
        raise
    shutil.rmtree(scratch, ignore_errors=True)


def _rename(folder: Path, path: Path) -> None:
    """Put the finished folder in place; whoever came first (a lost node's writer) wins."""
    folder.chmod(0o755)  # mkdtemp makes it 0700; a cache may be shared.
    try:
        folder.rename(path)
    except OSError:
        if not path.exists():
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Flush every file to disk, so that the rename never outruns the contents."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
