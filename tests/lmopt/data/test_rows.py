import json
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from lmopt.config.task import TaskConfig
from lmopt.data.rows import Source
from lmopt.data.sources import read_rows


def read_csv(folder: Path, rows: str, **fields: Any) -> Source:
    (folder / "x.csv").write_text(rows, encoding="utf-8")
    return read_rows(TaskConfig(dataset=str(folder / "x.csv"), **fields))


def read_json(folder: Path, records: list[dict[str, Any]], **fields: Any) -> Source:
    (folder / "x.jsonl").write_text("\n".join(map(json.dumps, records)))
    return read_rows(TaskConfig(dataset=str(folder / "x.jsonl"), **fields))


def test_sentiment_of_minus_one_is_a_class(tmp_path: Path) -> None:
    rows = "".join(f"отзыв {i},{i % 3 - 1}\n" for i in range(60))
    source = read_csv(tmp_path, f"text,label\n{rows}")
    assert source.rows["all"].labels.count(-1) == 20
    assert len(source.rows["all"].texts) == 60 and not any(source.hidden.values())
    records = [{"text": f"отзыв {i}", "label": i % 3 - 1} for i in range(60)]
    assert len(read_json(tmp_path, records).rows["all"].texts) == 60


def test_only_a_declared_label_is_hidden_and_it_is_counted(tmp_path: Path) -> None:
    texts, labels = [f"t{i}" for i in range(6)], [0, 1, -1, -1, 1, 0]
    classes = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    numbers = Features({"text": Value("string"), "label": Value("int64")})
    for features, left in ((classes, 4), (numbers, 6)):
        table = Dataset.from_dict({"text": texts, "label": labels}, features=features)
        DatasetDict({"train": table, "test": table}).save_to_disk(tmp_path / "saved")
        source = read_rows(TaskConfig(dataset=str(tmp_path / "saved")))
        assert len(source.rows["test"].texts) == left
        assert source.hidden == {"train": 6 - left, "test": 6 - left}
    table = Dataset.from_dict({"text": texts, "label": labels}, features=classes)
    table.to_parquet(tmp_path / "x.parquet")
    source = read_rows(TaskConfig(dataset=str(tmp_path / "x.parquet")))
    assert source.hidden == {"all": 2} and source.label_names == ["no", "yes"]


def test_names_of_declared_classes_are_known_in_other_files(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    table = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features)
    table.to_parquet(tmp_path / "train.parquet")
    (tmp_path / "test.csv").write_text("text,label\nc,yes\nd,no\n")
    assert read_rows(TaskConfig(dataset=str(tmp_path))).rows["test"].labels == [1, 0]
    (tmp_path / "test.csv").write_text("text,label\nc,perhaps\n")
    with pytest.raises(ValueError, match=r"'perhaps' of test.csv is no declared class: no, yes"):
        read_rows(TaskConfig(dataset=str(tmp_path)))


def test_a_row_without_a_document_is_one_of_its_own(tmp_path: Path) -> None:
    rows = "text,label,author\na,x,Ann\nb,x,\nc,y, \nd,y,Ann\ne,y,nan\nf,x,all/1\n"
    source = read_csv(tmp_path, rows, group_column="author")
    groups = source.rows["all"].groups
    assert groups[0] == groups[3] == "Ann"
    assert len(set(groups)) == 5
    assert source.ungrouped == {"all": 3}
    records = [{"text": "a", "label": 1, "author": None}, {"text": "b", "label": 1, "author": None}]
    assert len(set(read_json(tmp_path, records, group_column="author").rows["all"].groups)) == 2


def test_all_empty_cells_are_told_in_one_line_by_the_file_s_own_numbers(tmp_path: Path) -> None:
    rows = ["text,label", "a,x", ",y", '"two', 'lines",x', " ,x", "b,", *[",x"] * 6, "c,y"]
    with pytest.raises(ValueError) as error:
        read_csv(tmp_path, "\n".join(rows))
    assert str(error.value) == (
        "empty text in lines 3, 6, 8, 9, 10 and 3 more of x.csv; "
        "missing label in line 7 of x.csv: fill or drop them"
    )


def test_numbers_are_texts(tmp_path: Path) -> None:
    assert read_csv(tmp_path, "text,label\n12,a\n3.50,b\n").rows["all"].texts == ["12", "3.50"]
    records = [{"text": 12, "label": "a"}, {"text": "b", "label": "b"}]
    assert read_json(tmp_path, records).rows["all"].texts == ["12", "b"]


@pytest.mark.parametrize(
    ("records", "fields", "said"),
    [
        ([{"text": ["w", "x"], "label": [0, 1]}], {}, r"texts are lists \(tagging .* in line 1"),
        ([{"text": {"a": 1}, "label": 0}], {}, "texts are records"),
        ([{"text": "a", "label": [{"start": 0}]}], {}, "labels are lists of records"),
        (
            [{"premise": "a", "hypothesis": "b", "label": 0}],
            {"text_column": "premise"},
            "two text columns, 'premise' and 'hypothesis': pairs of texts are not supported yet",
        ),
        ([{"text": "same", "label": i} for i in range(3)], {}, "all 3 texts are 'same'"),
    ],
)
def test_another_kind_of_task_is_refused_by_its_name(
    tmp_path: Path, records: list[dict[str, Any]], fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said) as error:
        read_json(tmp_path, records, **fields)
    assert "\n" not in str(error.value)


def test_one_text_of_a_pair_may_be_read_under_another_name(tmp_path: Path) -> None:
    source = read_json(tmp_path, [{"text": "a", "hypothesis": "b", "label": 0}])
    assert source.rows["all"].texts == ["a"]


def test_half_an_emoji_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(
        '{"text": "да \\ud83d", "label": 0}\n{"text": "\\ud83d\\ude00", "label": 1}'
    )
    source = read_rows(TaskConfig(dataset=str(tmp_path / "x.jsonl")))
    assert source.rows["all"].texts == ["да \ufffd", "\U0001f600"]


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "utf-16", "utf-8-sig", "utf-16-le"])
def test_russian_tables_of_any_encoding_give_the_same_rows(tmp_path: Path, encoding: str) -> None:
    text = 'отзыв;тема\n"Сказал: ""да""; ушёл";спорт\n7;наука\n'
    (tmp_path / "x.csv").write_bytes(text.encode(encoding))
    found = encoding in ("utf-16", "utf-8-sig")
    task = TaskConfig(
        dataset=str(tmp_path / "x.csv"),
        text_column="отзыв",
        label_column="тема",
        encoding=None if found else encoding,
    )
    assert read_rows(task).rows["all"].texts == ['Сказал: "да"; ушёл', "7"]
    assert read_rows(task).rows["all"].labels == ["спорт", "наука"]
