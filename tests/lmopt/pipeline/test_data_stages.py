"""The stages of data and extra text: their keys, and what an earlier version left in the cache."""

import json
import logging
from pathlib import Path

import pytest

from lmopt.config.task import TaskConfig
from lmopt.data.report import FILE
from lmopt.pipeline.prepare import read_task
from lmopt.pipeline.shared_stages import data_stage
from lmopt.stages.context import Walk


@pytest.fixture
def task(tmp_path: Path) -> TaskConfig:
    (tmp_path / "x.csv").write_text(
        "text,label\n" + "".join(f"слово{i},{'аб'[i % 2]}\n" for i in range(20))
    )
    return TaskConfig(dataset=str(tmp_path / "x.csv"))


def stages(cache: Path) -> list[Path]:
    return [path for path in (cache / "data").iterdir() if path.is_dir()]


def test_the_stage_s_key_is_what_it_was(tmp_path: Path) -> None:
    (tmp_path / "fixed.csv").write_text(
        "text,label\n" + "".join(f"слово{i},{'аб'[i % 2]}\n" for i in range(20))
    )
    task = TaskConfig(dataset=str(tmp_path / "fixed.csv"), chunk_min_words=2)
    data = data_stage(Walk(tmp_path, 1), task)
    assert [path.name for path in stages(tmp_path)] == ["1e5312300b0e3ffb"]
    assert data.key == "505a0c2c1b47d53c"


def test_data_of_an_earlier_version_is_read_again(task: TaskConfig, tmp_path: Path) -> None:
    """It may have been read wrongly; only newer versions leave a report beside it."""
    data = data_stage(Walk(tmp_path, 1), task)
    (folder,) = stages(tmp_path)
    wrong = json.loads((folder / "data.json").read_text())
    wrong["train"]["texts"].pop()
    (folder / "data.json").write_text(json.dumps(wrong))
    (folder / FILE).unlink()
    walk = Walk(tmp_path, 1)
    again = data_stage(walk, task)
    assert again.key == data.key and again.splits["train"].texts == data.splits["train"].texts
    assert again.report == data.report
    assert stages(tmp_path) == [folder]
    assert [(time.name, time.cached) for time in walk.times] == [("data", False)]


def test_a_cache_that_cannot_be_changed_is_read_as_it_is(
    task: TaskConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_stage(Walk(tmp_path, 1), task)
    (folder,) = stages(tmp_path)
    (folder / FILE).unlink()

    def refuse(path: Path) -> bool:
        raise PermissionError(path)

    monkeypatch.setattr("lmopt.pipeline.shared_stages.remove_stage", refuse)
    again = data_stage(Walk(tmp_path, 1), task)
    assert again.key == data.key and again.report is None


def test_the_first_line_of_the_log_is_the_report(
    task: TaskConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "lmopt"):
        read_task(task, cache=tmp_path, threads=1)
    first = caplog.records[0].getMessage()
    assert first.startswith("data: 20 rows read: train 8 texts of 8 documents, validation 4 ")
