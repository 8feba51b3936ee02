"""Read one data file into a table: csv, json and parquet, compressed or not."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmopt.data.decoding import decode, read_bytes
from lmopt.data.delimited import read_delimited
from lmopt.data.tables import Request, Table, check_columns
from lmopt.errors import UserError
from lmopt.locations import suffix_of


def read_file(path: Path, request: Request) -> Table:
    """Read the columns asked for from a data file; others may hold anything.

    Raises:
        ValueError: The file is not readable, or a column is missing; one line with the remedy.
    """
    suffix, content = suffix_of(path), read_bytes(path)
    if suffix == ".parquet":
        return _read_parquet(content, path, request)
    text = decode(content, request.form.encoding, name=path.name, section=request.section)
    if suffix in (".json", ".jsonl"):
        return _read_json(text, path, request)
    return read_delimited(text, path.name, request, usual="\t" if suffix == ".tsv" else ",")


def _read_parquet(content: bytes, path: Path, request: Request) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(content))
        check_columns(file.schema_arrow.names, request, path.name)
        table = file.read(columns=list(request.columns))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None
    columns = {name: table.column(name).to_pylist() for name in request.columns}
    return Table(
        path.name,
        "row",
        range(1, table.num_rows + 1),
        columns,
        classes=_declared_classes(file.schema_arrow.metadata or {}, request),
    )


def _declared_classes(metadata: Mapping[bytes, bytes], request: Request) -> dict[str, list[str]]:
    """Return the class names that `datasets` writes into a parquet file, by column."""
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return {
        name: features[name]["names"]
        for name in request.columns
        if features.get(name, {}).get("_type") == "ClassLabel"
    }


def _read_json(text: str, path: Path, request: Request) -> Table:
    unit, numbers, records = _json_records(text, path)
    for number, record in zip(numbers, records, strict=True):
        if not isinstance(record, dict):
            raise UserError(
                f"{unit} {number} of {path.name} is no record: write each example as "
                '{"column": value, ...}'
            )
    there = list(dict.fromkeys(name for record in records for name in record))
    check_columns(there, request, path.name)
    columns = {name: [record.get(name) for record in records] for name in request.columns}
    return Table(path.name, unit, numbers, columns)


def _json_records(text: str, path: Path) -> tuple[str, list[int], list[Any]]:
    """Return the unit, number and value of each record: of lines, of a list, or of columns."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise UserError(f"{path.name} is empty: it needs one record a line")
    is_one = len(lines) == 1 and suffix_of(path) != ".jsonl"  # One value, columns perhaps.
    if not is_one and _is_record(lines[0][1]):
        values = [_parsed(line, path, number) for number, line in lines]
        return "line", [number for number, _ in lines], values
    whole = _parsed(text, path, 1)
    found = _transposed(whole) if isinstance(whole, dict) else whole
    if not isinstance(found, list):
        raise _unreadable(path, "it holds no list of records")
    records = [{"text": item} if isinstance(item, str) else item for item in found]
    return "row", list(range(1, len(records) + 1)), records


def _parsed(text: str, path: Path, line: int) -> Any:
    """Parse json that begins in a line of a file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _unreadable(path, f"line {line + error.lineno - 1}: {error.msg}") from None


def _is_record(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False


def _transposed(columns: Mapping[str, Any]) -> list[Any]:
    """Turn columns into records: lists of one length, or as pandas writes a frame by default."""
    values = [list(v.values()) if isinstance(v, dict) else v for v in columns.values()]
    if not all(isinstance(v, list) for v in values) or len({len(v) for v in values}) != 1:
        return [columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _unreadable(path: Path, reason: object) -> ValueError:
    first = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
    return ValueError(f"{path} is not a readable {suffix_of(path)} file: {first}")
