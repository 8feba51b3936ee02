"""Files that other processes, other nodes or other users may touch at the same moment."""

import contextlib
import errno
import os
import secrets
import socket
import stat
from pathlib import Path

from slurm.errors import UserError

# A file system that cannot flush a folder flushes it with the file, or not at all.
_NO_FOLDER_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES}


class ForeignFolderError(UserError):
    """A folder that must be private belongs to somebody else, or is no folder."""


def write_atomic(path: Path, content: str | bytes, *, replace: bool = True) -> bool:
    """Write a file so that it is there whole or not at all, and survives a power cut.

    With `replace=False` only the first of several writers succeeds, whichever node it is on.

    Returns:
        Whether the file now holds `content`: False if `replace` is False and it existed.

    Raises:
        OSError: The file cannot be written (a full disk); `path` is then as it was before.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = temporary_name(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        elif not link_new(temporary, path):
            return False
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)
    return True


def temporary_name(path: Path) -> Path:
    """Return a name beside `path` that no other process on any node uses."""
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{owner}.tmp")


def link_new(temporary: Path, path: Path) -> bool:
    """Give a file its name if no file has it; return whether this call did.

    On NFS the answer of a link that succeeded can be lost; the client asks again and hears that
    the name exists. The second link of `temporary`, whose name nobody else knows, tells (open(2)).
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        with temporary.open("rb") as file:  # Opening makes an NFS client ask the server anew.
            return os.fstat(file.fileno()).st_nlink == 2
    return True


def flush_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_FLUSH:
            raise
    finally:
        os.close(descriptor)


def private_folder(folder: Path) -> Path:
    """Make a folder that only this user can enter, or check that the one there is such a folder.

    Below the system's temporary directory another user can make a folder of any name first, fill
    it with links to this user's files, and have them written through.

    Raises:
        ForeignFolderError: It belongs to another user, or is a link or a file.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ForeignFolderError(
            f"{folder} must be a folder of yours, not a link or a file: remove it"
        )
    if found.st_uid != os.geteuid():
        raise ForeignFolderError(
            f"{folder} must be yours, it belongs to user {found.st_uid}: remove it or set TMPDIR"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)
    return folder


def open_lock_file(path: Path) -> int:
    """Open a file to be locked, made if it is missing; its content stays and no link is followed.

    Raises:
        OSError: ELOOP for a link.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)
