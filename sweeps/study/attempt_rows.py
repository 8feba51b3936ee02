"""The rows of attempts: each is written once, and one that is damaged is put aside."""

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.rows.table import write_row
from slurm.files import flush_folder, link_new, temporary_name
from sweeps.run import claims
from sweeps.run.claims import Claim
from sweeps.run.directory import Run
from sweeps.run.rows import Row, shown_parameters

FINAL = ("COMPLETE", "FAIL", "PRUNED")


def write_once(run: Run, values: Mapping[str, Any]) -> bool:
    """Write the row of an attempt; False if it has one already, which stays as it is.

    A process that was given up may come to its end after all, and on another node than whoever
    wrote the attempt off: the first row is the one that others have acted on.

    Raises:
        ValueError: The row breaks the schema.
        OSError: It cannot be written.
    """
    path = run.row_path(values["trial"], values["attempt"])
    temporary = temporary_name(path)
    try:
        write_row(values, temporary, shown=shown_parameters(run))
        written = link_new(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)
    return written


def read_attempt(run: Run, number: int, attempt: int) -> Row | None:
    """Return the row of an attempt; None if it left none, or one that is damaged.

    Raises:
        OSError: The disk does not give it, which says nothing of the row.
    """
    return _read(run.row_path(number, attempt))


def final_row(run: Run, claim: Claim) -> Row | None:
    """Return the row that settles a trial, written by the attempt that owns it; None if none.

    A failure that `resume --retry-failed` took back settles nothing.
    """
    values = read_attempt(run, claim.number, claim.attempt)
    if values is None or values["state"] not in FINAL or claims.is_taken_back(run, claim):
        return None
    return values


def was_damaged(run: Run, claim: Claim) -> bool:
    """Whether the row of an attempt was put aside, and no other one was written since."""
    path = run.row_path(claim.number, claim.attempt)
    return _aside(path).exists() and not path.exists()


def put_damaged_aside(run: Run) -> list[Path]:
    """Look at every row of a run and return those that had to be put aside."""
    return [path for path in _row_files(run) if _read(path) is None and not path.exists()]


def _row_files(run: Run) -> Iterator[Path]:
    yield from sorted(path for path in run.rows.glob("*.parquet") if path.name[0] != ".")


def _read(path: Path) -> Row | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        (values,) = pq.read_table(pa.BufferReader(content)).to_pylist()
        values["state"], values["attempt"]
    except (OSError, ValueError, KeyError) as error:  # pyarrow's own errors are of these
        _put_aside(path, error)
        return None
    row: Row = values
    return row


def _put_aside(path: Path, error: Exception) -> None:
    try:
        path.rename(_aside(path))
    except FileNotFoundError:  # Another process was faster.
        return
    words = " ".join(str(error).split()) or type(error).__name__
    warnings.warn(
        f"{path} is damaged ({words}): it is now {_aside(path).name}, and its attempt counts as"
        " lost",
        stacklevel=4,
    )


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.damaged")
