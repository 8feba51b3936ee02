"""The data table of `lmopt check`, for people and for scripts."""

import json
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from tokenizers import Tokenizer

from lmopt.config.task import TaskConfig
from sweeps.cli.render_data import print_data
from sweeps.cli.render_report import print_plan
from sweeps.preflight.check import plan
from sweeps.preflight.data_table import look_at_data


def task_of(csv_file: Path, **fields: Any) -> TaskConfig:
    columns = {"text_column": "body", "label_column": "topic", "group_column": "document"}
    return TaskConfig.model_validate({"dataset": str(csv_file), **columns, **fields})


def shown(found: dict[str, Any]) -> str:
    console = Console(file=StringIO(), width=80)
    print_data(found, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_texts_of_each_split_and_class_and_what_is_cut_off(
    csv_file: Path, teacher_folder: Path
) -> None:
    counts, table = look_at_data(task_of(csv_file, max_length=10), str(teacher_folder))
    assert table is not None and table.truncation is not None
    assert counts.train == table.splits["train"]["used"] == 180
    assert [table.splits[name]["documents"] for name in ("train", "validation", "test")] == [
        36,
        12,
        24,
    ]
    assert table.splits["test"]["classes"]["спорт"] == {"read": 40, "used": 40, "documents": 8}
    tokenizer = Tokenizer.from_file(str(teacher_folder / "tokenizer.json"))
    from lmopt.data.dataset import build_data, load_data  # The texts that were counted.

    folder = csv_file.parent
    build_data(task_of(csv_file), folder)
    texts = load_data(folder).splits["test"].texts
    longer = sum(len(tokenizer.encode(text).ids) > 10 for text in texts)
    assert 0 < longer == table.truncation.texts["test"] and table.truncation.of["test"] == 120
    said = shown(asdict(table))
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert f"test all 120 120 24 0 0 0 {100 * longer / 120:.1f} %" in lines
    assert "спорт 40 40 8" in lines
    assert max(map(len, said.splitlines()[:13])) <= 80


def test_without_the_teacher_s_tokenizer_nothing_is_said_of_length(csv_file: Path) -> None:
    _, table = look_at_data(task_of(csv_file), "somebody/bert")
    assert table is not None and table.truncation is None
    assert "cut off" not in shown(asdict(table))


def test_data_of_the_hub_has_no_table() -> None:
    counts, table = look_at_data(TaskConfig(dataset="somebody/reviews"), "somebody/bert")
    assert table is None and counts.train is None


def test_many_classes_are_counted_and_remarks_are_said(tmp_path: Path) -> None:
    rows = [f"текст номер {i},класс{i % 30:02d}" for i in range(240)]
    rows += [f"текст номер {i},класс00" for i in range(3)]
    (tmp_path / "x.csv").write_text("text,label\n" + "\n".join(rows))
    (tmp_path / "more.txt").write_text("совсем другой текст\nтекст номер 1\n")
    task = TaskConfig.model_validate(
        {"dataset": str(tmp_path / "x.csv"), "unlabelled": {"dataset": str(tmp_path / "more.txt")}}
    )
    counts, table = look_at_data(task, "somebody/bert")
    assert table is not None and counts.extra == 1
    said = shown(asdict(table))
    assert "18 more: 4 to 4" in said
    assert "duplicates dropped: 3" in said
    assert "texts with several labels: 2 ('текст номер 1' has класс01 and класс00)" in said
    assert "extra texts: 1 of 2 are used" in said


@pytest.fixture
def sweep_file(tmp_path: Path, csv_file: Path, teacher_folder: Path) -> Path:
    definition = {
        "name": "tiny",
        "task": task_of(csv_file, max_length=32).model_dump(exclude_unset=True),
        "teacher": {"model": str(teacher_folder)},
        "recipe": {"epochs": 1},
        "search": {"layers": [1, 2]},
        "study": {"trials": 6},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(definition))
    return tmp_path / "tiny.yaml"


def test_the_plan_has_the_table_for_people_and_for_scripts(sweep_file: Path) -> None:
    found = json.loads(json.dumps(plan(sweep_file, "local")))
    console = Console(file=StringIO(), width=80)
    print_plan(found, console)
    assert "train all 180 180 36" in " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert found["data"]["rows"] == {"all": 360}
    assert found["data"]["splits"]["train"]["near_duplicates"] == 0
    assert found["data"]["truncation"]["max_length"] == 32
