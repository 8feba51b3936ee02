"""Content-addressed stages: an existing stage is loaded, a missing stage is built once.

A stage is a folder `<cache>/<name>/<key>/`. The key is the hash of the stage's name, version,
parameters and parents. A stage is built in a private folder, which is then renamed, so that a stage
is complete or absent. A kernel lock lets one of several processes build while the others wait. The
kernel frees it when its holder dies, even by kill -9. The folder `scratch` outlives a kill: a
training stage keeps its checkpoints there and resumes from them.

Any stage may be removed, and is built again when it is needed. A process that uses a stage holds a
shared kernel lock on `<key>.used`. The file's modification time is the time of the last use.
Removal needs an exclusive lock on it.
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
MAX_HELD = 64  # Each stage that a process holds is an open file. A trial needs about ten.
GONE = ".gone"  # The suffix of a stage that is being removed.
Build = Callable[[Path, Path], None]
"""(folder of the stage, scratch folder that outlives a kill) -> None"""


@dataclass(frozen=True)
class Stage:
    """A built stage.

    `seconds` is the time that this process spent on it. `cached` tells that it existed before.
    """

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
    """Return the stage with this content: load it, or build it in exactly one process.

    An exception in `build` (a full disk too) removes all files of the stage and is raised
    unchanged. After a kill or Ctrl-C the scratch folder stays, and the next `build` may resume.
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


_held: dict[Path, int] = {}  # Descriptors of the stages in use, in the order of their last use.


def hold(path: Path) -> bool:
    """Protect a stage from removal while this process may read it; return whether it exists.

    The process holds the last `MAX_HELD` stages until it ends. A cache that cannot be written needs
    no locks, because nothing can be removed from it.
    """
    if not path.exists():
        return False
    try:
        descriptor = os.open(_used(path), os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return path.exists()
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not path.exists():  # Another process removed it during the wait.
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
    """Return the time of a stage's last use, in seconds since the epoch."""
    used = _used(path)
    return (used if used.exists() else path).stat().st_mtime


def remove_stage(path: Path) -> bool:
    """Remove a stage unless another process uses it; return whether it was removed."""
    _release(path)
    descriptor = os.open(_used(path), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gone = path.with_name(path.name + GONE)
        shutil.rmtree(gone, ignore_errors=True)  # Left by a killed removal.
        with contextlib.suppress(FileNotFoundError):
            path.rename(gone)  # Atomic: no process sees a partial stage.
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    shutil.rmtree(gone, ignore_errors=True)
    return True


def _build(path: Path, build: Build, record: dict[str, object]) -> None:
    """Build a stage under the lock in a private folder, then rename the folder to `path`."""
    for leftover in path.parent.glob(f"{path.name}.build-*"):  # Left by a killed build.
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
        if isinstance(error, Exception):  # After Ctrl-C the next build resumes.
            shutil.rmtree(scratch, ignore_errors=True)
        raise
    shutil.rmtree(scratch, ignore_errors=True)


def _share(folder: Path) -> None:
    """Give a stage the modes that new files have: mkdtemp makes 0700, safetensors 0600.

    A cache may be shared by several users, as far as their umask says so.
    """
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def _rename(folder: Path, path: Path) -> None:
    """Rename the finished folder to `path`; keep the first one if a lost node's writer made one."""
    _share(folder)
    try:
        folder.rename(path)
    except OSError:
        if not path.exists():
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Flush every file to disk, so that the contents are stored before the rename."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
