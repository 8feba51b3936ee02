from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lmopt.config.task import TaskConfig, UnlabelledConfig


def test_defaults_of_later_fields_leave_keys_as_they_were() -> None:
    """Every field of version 0.1.0, and none that came later."""
    task = TaskConfig.model_validate({"dataset": "a/b", "unlabelled": {"dataset": "c/d"}})
    assert task.data_parameters() == {
        "text_column": "text",
        "label_column": "label",
        "group_column": None,
        "chunk_min_words": None,
        "split": {"train": 0.5, "validation": 0.15, "test": 0.35},
        "seed": 0,
    }
    assert task.extra_text_parameters() == {
        "unlabelled": {"dataset": "c/d", "text_column": "text"},
        "rechunk": 0,
        "chunk_min_words": None,
        "seed": 0,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"encoding": "cp1251"},
        {"separator": ";"},
        {"quoting": "none"},
        {"split": {"allow_shared_groups": True}},
    ],
)
def test_what_is_told_of_the_files_is_in_the_key(fields: dict[str, Any]) -> None:
    told = TaskConfig.model_validate({"dataset": "a/b", **fields}).data_parameters()
    plain = TaskConfig(dataset="a/b").data_parameters()
    assert (
        told != plain and told.items() >= {k: v for k, v in fields.items() if k != "split"}.items()
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"encoding": "cp1252251"}, "encoding that Python knows .*got 'cp1252251'"),
        ({"encoding": "hex"}, "encoding that Python knows"),
        ({"separator": "||"}, "one character.*got '||'"),
        ({"separator": '"'}, "one character"),
        ({"quoting": "single"}, "'doubled', 'backslash' or 'none'"),
        ({"text_column": ["a", "b"]}, "pairs of texts are not supported yet"),
    ],
)
def test_mistakes_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TaskConfig.model_validate({"dataset": "a/b", **fields})


@pytest.mark.parametrize("tab", ["tab", "\\t", "\t"])
def test_a_tab_is_written_in_any_way_that_yaml_lets_through(tab: str) -> None:
    assert UnlabelledConfig(dataset=str(Path("x")), separator=tab).separator == "\t"
