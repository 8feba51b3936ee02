"""The results table: one Parquet file per attempt, written atomically, and all of them as a frame.

pandas and pyarrow only: the worker and the command line import this module.
"""

import os
import secrets
import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import UserError
from analysis.rows.schema import COLUMNS, SCHEMA_VERSION, Shown, row_table

SHOWN = "shown"
"""Key of a frame's `attrs`: `param_` column -> its unit, header and label."""
_KEY = ["trial", "attempt"]
_ROW_FOLDERS = ("trials", "remeasure")
_MADE_FROM = b"lmopt.made_from"
_SCHEMA_TYPES = {column.name: column.type for column in COLUMNS}
_SCHEMA = pa.schema(list(_SCHEMA_TYPES.items()))
_NUMBERS = {pa.int64(), pa.float64()}
# Nullable integers: the linear model has no trial number, and 3 must not print as 3.0.
_PANDAS_TYPES = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


def write_row(
    row: Mapping[str, object], path: Path, *, partial: bool = False, shown: Shown | None = None
) -> None:
    """Check one row and write it to `path` atomically; after this returns it survives a power cut.

    `partial` writes an overlay for `remeasure/`: `trial`, `attempt` and the columns it overrides.
    `shown` has the unit, header and label of the searched parameters.

    Raises:
        ValueError: the row breaks the schema (see `analysis.rows.schema.row_table`).
        OSError: the file cannot be written (disk full); `path` is then as it was before.
    """
    _write_atomic(row_table(row, partial=partial, shown=shown), Path(path))


def read_rows(run_dir: Path) -> pd.DataFrame:
    """All attempts of a run, sorted by (trial, attempt), with `remeasure/` laid over them.

    A torn or foreign file is skipped with a warning that names it.

    Raises:
        ValueError: no such run, or rows of a newer schema than this code reads.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise UserError(f"no run directory {run_dir}; name a folder made by `lmopt submit`")
    rows = _read_folder(run_dir / "trials")
    for key, overlay in _read_folder(run_dir / "remeasure").items():
        if key in rows:
            rows[key] = _lay_over(rows[key], overlay)
    return _to_frame(_concatenate(rows.values())).sort_values(_KEY, ignore_index=True)


def compact(run_dir: Path) -> Path:
    """Write all rows of a run to its `results.parquet`, atomically; return that path."""
    run_dir = Path(run_dir)
    made_from = _fingerprint(run_dir)  # before reading: a row that comes meanwhile makes it stale
    rows = read_rows(run_dir)
    table = _described(pa.Table.from_pandas(rows, preserve_index=False), rows.attrs.get(SHOWN, {}))
    metadata = {**(table.schema.metadata or {}), _MADE_FROM: made_from}
    path = run_dir / "results.parquet"
    _write_atomic(table.replace_schema_metadata(metadata), path)
    return path


def load_results(path: Path) -> pd.DataFrame:
    """Rows from a Parquet file, or of a run directory: `results.parquet` unless rows are newer.

    Raises:
        ValueError: neither exists, or the file is torn.
    """
    path = Path(path)
    if path.is_dir():
        compacted = path / "results.parquet"
        alone = not (path / "trials").is_dir()
        if not alone and not _is_fresh(compacted):
            return read_rows(path)
        path = compacted
    if not path.exists():
        raise UserError(f"no results at {path}; name a run directory or a results.parquet")
    try:
        return _to_frame(pq.read_table(path))
    except (OSError, pa.ArrowInvalid) as error:  # a damaged footer is the former
        raise UserError(f"{path} is no whole Parquet file: {error}") from None


def final_attempts(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per trial (and the linear model's): its last completed attempt, else its last.

    A completed trial stays completed although a second writer of the same trial, believed dead,
    left a later row.
    """
    # Only the keys are sorted: a row's samples and texts are copied once, a million of them too.
    keys = rows[["trial", "attempt"]].reset_index(drop=True)
    if keys["trial"].is_unique:
        keys = keys.sort_values("trial", kind="stable")
    else:
        keys["complete"] = rows["state"].eq("COMPLETE").to_numpy()
        keys = keys.sort_values(["trial", "complete", "attempt"], kind="stable")
        keys = keys.drop_duplicates("trial", keep="last")
    return rows.iloc[keys.index].reset_index(drop=True)


def _write_atomic(table: pa.Table, path: Path) -> None:
    buffer = pa.BufferOutputStream()
    many = table.num_rows > 1  # a dictionary for one value doubles the time to read it
    pq.write_table(table, buffer, use_dictionary=many, write_statistics=many)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(buffer.getvalue())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _fsync_folder(path.parent)


def _fsync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fingerprint(run_dir: Path) -> bytes:
    """What the row files of a run are now; changes when one is added, replaced or removed."""
    folders = [run_dir / name for name in _ROW_FOLDERS if (run_dir / name).is_dir()]
    return repr([(f.name, f.stat().st_mtime_ns, len(list(f.iterdir()))) for f in folders]).encode()


def _is_fresh(compacted: Path) -> bool:
    """Whether it is there, whole, and no row is newer."""
    try:
        made_from = (pq.read_schema(compacted).metadata or {}).get(_MADE_FROM)
    except (OSError, pa.ArrowInvalid):
        return False
    return bool(made_from == _fingerprint(compacted.parent))


def _read_folder(folder: Path) -> dict[tuple[int | None, int], pa.Table]:
    """(trial, attempt) -> the row's table of one row; what is not a row is skipped, loudly."""
    tables = {}
    for path in sorted(folder.glob("*.parquet")):
        try:
            table = _read_file(path, path.stat().st_mtime_ns)
            key = _row_key(table)
        except (OSError, ValueError, KeyError) as error:  # pyarrow's own errors are of these
            warnings.warn(f"skipped {path}, not a result row: {error}", stacklevel=3)
            continue
        _refuse_newer(table, path)
        tables[key] = table
    return tables


@lru_cache(maxsize=100_000)
def _read_file(path: Path, mtime_ns: int) -> pa.Table:
    """A row's file, read once: `status --watch` looks at all of them every second."""
    return pq.ParquetFile(pa.BufferReader(path.read_bytes())).read(use_threads=False)


def _row_key(table: pa.Table) -> tuple[int | None, int]:
    if table.num_rows != 1:
        raise ValueError(f"{table.num_rows} rows, a result row's file has one")
    fields = {field.name: field.type for field in table.schema}
    for name in _SCHEMA_TYPES.keys() & fields.keys():
        if fields[name] != _SCHEMA_TYPES[name]:
            raise ValueError(f"column {name} is {fields[name]}, not {_SCHEMA_TYPES[name]}")
    return table["trial"][0].as_py(), table["attempt"][0].as_py()


def _refuse_newer(table: pa.Table, path: Path) -> None:
    if "schema_version" not in table.column_names:  # an overlay
        return
    version = table["schema_version"][0].as_py()
    if (version or 0) > SCHEMA_VERSION:
        raise UserError(f"{path} has schema {version}, not {SCHEMA_VERSION}; update lmopt")


def _lay_over(row: pa.Table, overlay: pa.Table) -> pa.Table:
    if "processor" in overlay.column_names and "processor_timed" not in overlay.column_names:
        # An older version wrote where it timed over where accuracy was measured.
        overlay = overlay.rename_columns({"processor": "processor_timed"})
    kept = [name for name in row.column_names if name not in overlay.column_names]
    columns = {name: row[name] for name in kept} | {
        name: overlay[name] for name in overlay.column_names
    }
    return pa.table(columns)


def _concatenate(tables: Iterable[pa.Table]) -> pa.Table:
    tables = [_SCHEMA.empty_table(), *tables]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowTypeError:  # a choice such as [2, "auto"]: that parameter becomes text
        tables = _mixed_params_as_text(tables)
        return pa.concat_tables(tables, promote_options="permissive")


def _mixed_params_as_text(tables: list[pa.Table]) -> list[pa.Table]:
    types: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            if field.name.startswith("param_"):
                types.setdefault(field.name, set()).add(field.type)
    mixed = {name for name, seen in types.items() if len(seen) > 1 and not seen <= _NUMBERS}
    return [
        table.cast(
            pa.schema([f.with_type(pa.string()) if f.name in mixed else f for f in table.schema])
        )
        for table in tables
    ]


def _to_frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(types_mapper=_PANDAS_TYPES.get)
    frame.attrs[SHOWN] = {
        field.name: {key.decode(): text.decode() for key, text in field.metadata.items()}
        for field in table.schema
        if field.metadata and field.name.startswith("param_")
    }
    return frame


def _described(table: pa.Table, shown: Shown) -> pa.Table:
    """Return the table with the unit of every column, and the names of its parameters."""
    known = {column.name: {"unit": column.unit} for column in COLUMNS if column.unit}
    fields = [
        field.with_metadata(dict(shown.get(field.name) or known.get(field.name) or {}))
        for field in table.schema
    ]
    return table.cast(pa.schema(fields, metadata=table.schema.metadata))
