import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmopt.config.task import TaskConfig
from lmopt.data.files import read_file
from lmopt.data.tables import Request, Table

RECORDS = [{"text": "да", "label": 1}, {"text": "нет", "label": "001"}, {"text": "", "label": 1.5}]
COLUMNS = {"text": ["да", "нет", ""], "label": [1, "001", 1.5]}


def read(path: Path) -> Table:
    fields = {"text": "task.text_column", "label": "task.label_column"}
    return read_file(path, Request(fields, TaskConfig(dataset="x"), "task"))


def test_json_is_read_as_lines_as_a_list_and_as_columns(tmp_path: Path) -> None:
    shapes: dict[str, Any] = {
        "lines.jsonl": "\n\n".join(json.dumps(record, ensure_ascii=False) for record in RECORDS),
        "list.json": json.dumps(RECORDS, indent=1),
        "columns.json": json.dumps(COLUMNS),
        "frame.json": json.dumps(
            {name: {str(i): v for i, v in enumerate(values)} for name, values in COLUMNS.items()}
        ),
        "marked.jsonl": "\ufeff" + "\n".join(json.dumps(record) for record in RECORDS),
    }
    for name, text in shapes.items():
        (tmp_path / name).write_text(text)
        table = read(tmp_path / name)
        assert table.columns == COLUMNS and table.typed, name
    assert list(read(tmp_path / "lines.jsonl").numbers) == [1, 3, 5]
    assert read(tmp_path / "list.json").unit == "row"


def test_json_values_keep_their_type_and_other_columns_may_differ(tmp_path: Path) -> None:
    other = [1, {"a": [1]}, "x"]
    rows = [{**record, "meta": more} for record, more in zip(RECORDS, other, strict=True)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"label": 2}\n')
    table = read(tmp_path / "a.jsonl")
    assert table.columns["label"] == [1, "001", 1.5, 2]
    assert table.columns["text"] == ["да", "нет", "", None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"text": "a", "label": 1}\n\n{"text": "b",\n', r"\.json file: line 3"),
        ('[{"text": "a", "label": 1}, 3]', "row 2 of a.json is no record"),
        ("3", "no list of records"),
        ('{"text": "a"}\n{"text": "b"}', r"no column 'label' \(task.label_column\) in a.json"),
        ("\n", "a.json is empty"),
    ],
)
def test_json_that_cannot_be_read_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        read(tmp_path / "a.json")
    assert "\n" not in str(error.value)


def test_only_the_columns_asked_for_are_read_of_parquet(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["да", "нет"]),
            "label": pa.array(["x", "y"]).dictionary_encode(),
            "nested": pa.array([{"a": 1}, None]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    read_table = read(tmp_path / "a.parquet")
    assert read_table.columns == {"text": ["да", "нет"], "label": ["x", "y"]}
    assert list(read_table.numbers) == [1, 2]
    pq.write_table(table.drop_columns("label"), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"no column 'label'.*it has text, nested"):
        read(tmp_path / "a.parquet")
