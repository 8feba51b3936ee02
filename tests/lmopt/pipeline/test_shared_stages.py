"""The stages that all trials share: what their keys depend on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from lmopt.config.models import TeacherConfig
from lmopt.config.task import TaskConfig
from lmopt.locations import fingerprint
from lmopt.pipeline import shared_stages
from lmopt.pipeline.shared_stages import data_stage, evaluate_stage, teacher_stage, tokens_stage
from lmopt.runtimes.config import RuntimeConfig
from lmopt.stages.cache import Stage
from lmopt.stages.context import Walk
from lmopt.tasks.base import NotFiniteError
from lmopt.tasks.registry import task_of


class Asked(Exception):
    """A stage was asked for, with these parameters."""


class _Data(NamedTuple):
    key: str
    label_names: list[str]


@pytest.fixture
def parameters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`parameters(function, ...)`: those of the stage that it asks for; nothing is built."""

    def stage(self: Walk, name: str, build: Any, version: int, given: Any, parents: Any) -> Stage:
        raise Asked(given)

    def ask(function: Any, *arguments: Any) -> dict[str, Any]:
        with pytest.raises(Asked) as asked:
            function(Walk(tmp_path, 1), *arguments)
        found: dict[str, Any] = asked.value.args[0]
        return found

    monkeypatch.setattr(Walk, "stage", stage)
    monkeypatch.setattr(shared_stages, "task_of", lambda _: task_of("classification"))
    return ask


def test_the_default_task_leaves_every_key_as_it_was(
    parameters: Any, csv_file: Path, teacher_folder: Path
) -> None:
    columns: dict[str, Any] = {"text_column": "body", "label_column": "topic"}
    plain = TaskConfig(dataset=str(csv_file), max_length=16, **columns)
    other = plain.model_copy(update={"kind": "other"})
    assert parameters(data_stage, plain) == columns | {
        "group_column": None,
        "chunk_min_words": None,
        "split": {"train": 0.5, "validation": 0.15, "test": 0.35},
        "seed": 0,
        "content": fingerprint(str(csv_file)),
    }
    data, tokens = _Data("key", ["a", "b"]), Stage("tokens", "key", csv_file, 0.0, False)
    teacher = TeacherConfig(model=str(teacher_folder))
    for function, arguments in (
        (data_stage, ()),
        (tokens_stage, (data, teacher_folder)),
        (teacher_stage, (data, tokens, teacher)),
    ):
        before, after = (parameters(function, *arguments, task) for task in (plain, other))
        assert "kind" not in before
        assert after == before | {"kind": "other"}


def test_an_artifact_whose_outputs_are_no_numbers_is_refused_with_the_split(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where an earlier job left them in the cache."""
    outputs = {name: np.zeros((6, 2), np.float32) for name in ("validation", "test")}
    outputs["validation"][4, 1] = np.nan
    calls: list[Any] = []

    def evaluate(*arguments: Any, **_: Any) -> Any:
        calls.append(arguments)
        return outputs

    manifest = SimpleNamespace(hash="hash", precision=None)
    monkeypatch.setattr(shared_stages.measure, "evaluate", evaluate)
    monkeypatch.setattr(shared_stages, "read_manifest", lambda _: manifest)
    walk, tokens = Walk(tmp_path, 1), Stage("tokens", "key", tmp_path, 0.0, False)
    for _ in range(2):
        with pytest.raises(NotFiniteError, match="for 1 of 6 texts of the validation split"):
            evaluate_stage(walk, RuntimeConfig(), tmp_path, tokens)
    assert len(calls) == 1
