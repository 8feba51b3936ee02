import json
from pathlib import Path

import pytest

from lmopt.config.task import TaskConfig
from lmopt.data.dataset import build_data, load_data
from lmopt.data.report import ClassReport, DataReport, read_report

LONG = "это длинное предложение из очень многих слов нужно для того чтобы заметить повтор"


def report_of(folder: Path, task: TaskConfig) -> DataReport:
    build_data(task, folder)
    report = load_data(folder).report
    assert report is not None
    return report


def test_every_row_of_given_splits_is_accounted_for(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    train = [("один", "да"), ("один", "нет"), ("два", "нет"), (f"{LONG} раз", "да"), ("три", "да")]
    validation = [("четыре", "да"), ("пять", "нет")]
    test = [("три", "да"), ("три", "нет"), (f"{LONG} два", "нет"), ("пять", "нет")]
    for name, rows in (("train", train), ("dev", validation), ("test", test)):
        lines = "".join(f"{text},{label}\n" for text, label in rows)
        (folder / f"{name}.csv").write_text(f"text,label\n{lines}")
    report = report_of(tmp_path, TaskConfig(dataset=str(folder)))
    assert report.rows == {"train": 5, "validation": 2, "test": 4}
    splits = report.splits
    assert [(splits[n].read, splits[n].used) for n in ("train", "validation", "test")] == [
        (5, 3),
        (2, 2),
        (4, 4),
    ]
    assert splits["train"].classes == {
        "да": ClassReport(read=3, used=2, documents=2),
        "нет": ClassReport(read=2, used=1, documents=1),
    }
    marks = {n: (splits[n].duplicates, splits[n].copies, splits[n].conflicts) for n in splits}
    assert marks == {"train": (1, 1, 1), "validation": (0, 1, 0), "test": (1, 0, 1)}
    assert {n: splits[n].near_duplicates for n in splits} == {
        "train": 1,
        "validation": 0,
        "test": 1,
    }
    said = report.sentence()
    for part in (
        "data: 11 rows read: train 3 texts of 3 documents, validation 2 texts",
        "duplicates dropped: 1",
        "duplicates kept in the given test split: 1",
        "training texts dropped that are held out too: 1",
        "validation texts that are in test too: 1",
        "texts with several labels: 2 ('три' has да and нет)",
        "training texts that share a part with held-out ones: 1 (and 1 of 4 test texts",
    ):
        assert part in said
    assert "\n" not in said


def test_rows_without_splits_count_where_their_text_went(csv_file: Path, tmp_path: Path) -> None:
    rows = csv_file.read_text(encoding="utf-8").splitlines()
    (tmp_path / "twice.csv").write_text("\n".join([*rows, *rows[1:11], rows[1]]), encoding="utf-8")
    columns = {"text_column": "body", "label_column": "topic", "group_column": "document"}
    report = report_of(tmp_path, TaskConfig(dataset=str(tmp_path / "twice.csv"), **columns))  # type: ignore[arg-type]
    splits = report.splits.values()
    assert report.rows == {"all": 371}
    assert sum(split.read for split in splits) == 371
    assert sum(split.used for split in splits) == 360
    assert all(split.read == split.used + split.duplicates for split in splits)
    for split in splits:
        assert sum(c.used for c in split.classes.values()) == split.used
        assert sum(c.documents for c in split.classes.values()) == split.documents


def test_the_report_lies_beside_the_data_and_may_be_absent(csv_file: Path, tmp_path: Path) -> None:
    task = TaskConfig(dataset=str(csv_file), text_column="body", label_column="topic")
    report = report_of(tmp_path, task)
    assert read_report(tmp_path) == report
    assert json.loads((tmp_path / "report.json").read_text())["rows"] == {"all": 360}
    (tmp_path / "report.json").unlink()
    assert load_data(tmp_path).report is None


@pytest.mark.parametrize("label", ["{}", "{}.0"])
def test_a_scale_is_remarked_on(tmp_path: Path, label: str) -> None:
    rows = "".join(f"текст {i},{label.format(i % 30)}\n" for i in range(120))
    (tmp_path / "x.csv").write_text(f"text,label\n{rows}")
    said = report_of(tmp_path, TaskConfig(dataset=str(tmp_path / "x.csv"))).sentence()
    assert "30 classes are whole numbers from 0 to 29" in said
