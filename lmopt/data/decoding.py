"""From the bytes of a file to its text: compression and encoding, never guessed."""

import codecs
import gzip
import zipfile
from pathlib import Path

from lmopt.errors import UserError
from lmopt.locations import members

POINTER = b"version https://git-lfs.github.com/spec/"
# UTF-32 comes first: its mark begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
STRAY = 0.01  # Share of a text's characters that may be no UTF-8 before it is refused.


def read_bytes(path: Path) -> bytes:
    """Read a file; of a .gz its content, of a .zip the one file in it.

    Raises:
        ValueError: The compressed file is torn, or a clone has a pointer instead of the file.
    """
    try:
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(path.read_bytes())
        elif path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                content = archive.read(members(archive)[0])
        else:
            content = path.read_bytes()
    except (EOFError, zipfile.BadZipFile, gzip.BadGzipFile, RuntimeError) as error:
        raise UserError(f"{path} cannot be decompressed ({error}): copy it again") from None
    if content.startswith(POINTER):
        raise UserError(
            f"{path} is a pointer of Git LFS and not the data: run 'git lfs pull' in its folder"
        )
    return content


def decode(content: bytes, encoding: str | None, *, name: str, section: str) -> str:
    """Decode a file: as it is told, else by its byte order mark, else as UTF-8.

    `name` is the file's and `section` that of the definition (task), for the message.

    Raises:
        ValueError: The bytes are not of this encoding; the message names the line and the remedy.
    """
    tried = encoding or _marked(content) or "utf-8"
    try:
        text = content.decode(tried)
    except UnicodeError as error:
        line = content[: getattr(error, "start", 0)].count(b"\n") + 1
        raise UserError(
            f"{name} is not {tried.upper()} (line {line}): name its encoding, cp1251 for example "
            f"({section}.encoding)"
        ) from None
    if "\0" in text[:1000]:
        raise UserError(
            f"{name} has zero bytes: if it is UTF-16 without a byte order mark, set "
            f"{section}.encoding: utf-16-le, or utf-16-be"
        )
    return text.removeprefix("\ufeff")


def read_text(path: Path, encoding: str | None, *, section: str) -> tuple[str, bool]:
    r"""Read a .txt file with \\n at the end of each line, and say whether it has stray bytes.

    Files that are not compressed tables often come from the web with a few bytes of another
    encoding. They become U+FFFD if they are at most one character in a hundred.

    Raises:
        ValueError: More bytes than that are not UTF-8, or `encoding` does not fit.
    """
    content = read_bytes(path)
    stray = False
    if encoding is None and _marked(content) is None:
        text = content.decode("utf-8", errors="replace")
        stray = "\ufffd" in text and "\ufffd".encode() not in content
        if stray and text.count("\ufffd") > max(1, STRAY * len(text)):
            decode(content, None, name=str(path), section=section)  # Raises.
    else:
        text = decode(content, encoding, name=str(path), section=section)
    return text.replace("\r\n", "\n").replace("\r", "\n"), stray


def _marked(content: bytes) -> str | None:
    """Return the encoding that a byte order mark tells; None without one."""
    return next((encoding for mark, encoding in MARKS if content.startswith(mark)), None)
