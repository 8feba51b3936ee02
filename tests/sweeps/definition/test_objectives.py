"""What a sweep may be judged by comes from its task; the names of before are what they were."""

from types import SimpleNamespace
from typing import Any

import pytest

from lmopt.tasks.registry import task_of
from sweeps.definition import sweep as definitions
from sweeps.definition.errors import ConfigError
from sweeps.definition.objectives import constrainable_of, default_objectives, objectives_of
from sweeps.definition.sweep import parse_sweep

BEFORE = {
    "accuracy_validation": "maximize", "macro_f1_validation": "maximize", "size_bytes": "minimize",
    "folder_bytes": "minimize", "parameters": "minimize", "latency_b1_p50_ms": "minimize",
    "latency_b32_p50_ms": "minimize", "speedup_b1": "maximize", "speedup_b32": "maximize",
}  # fmt: skip
BYTES: Any = SimpleNamespace(
    kind="language",
    metrics=(SimpleNamespace(name="bits_per_byte", direction="minimize"),),
)


def test_classification_has_the_names_of_before_and_macro_f1_its_score_and_drop() -> None:
    task = task_of("classification")
    assert objectives_of(task) == BEFORE | {"score_macro_f1_validation": "maximize"}
    assert set(constrainable_of(task)) == {
        *objectives_of(task), "accuracy_drop_validation", "drop_macro_f1_validation", "size_ratio",
    }  # fmt: skip


def test_a_sweep_optimizes_and_limits_the_metrics_of_its_task(definition: dict[str, Any]) -> None:
    changed = definition | {
        "objectives": {"score_macro_f1_validation": "maximize", "size_bytes": "minimize"},
        "constraints": {"drop_macro_f1_validation": {"max": 0.02}},
    }
    sweep = parse_sweep(changed, source="x")
    assert list(sweep.objectives) == ["score_macro_f1_validation", "size_bytes"]
    wrong = changed | {"objectives": {"score_macro_f1_validation": "minimize"}}
    with pytest.raises(ConfigError, match="the better direction is maximize"):
        parse_sweep(wrong, source="x")
    with pytest.raises(ConfigError, match=r"valid: .*score_macro_f1_validation"):
        parse_sweep(changed | {"objectives": {"score_macro_f1_test": "maximize"}}, source="x")


def test_without_objectives_they_are_the_task_s_own(
    definition: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    definition.pop("objectives", None)
    expected = {"accuracy_validation": "maximize", "size_bytes": "minimize"}
    assert parse_sweep(definition, source="x").objectives == expected | {"speedup_b1": "maximize"}
    assert default_objectives(BYTES)["score_bits_per_byte_validation"] == "minimize"

    monkeypatch.setattr(definitions, "TASKS", (*definitions.TASKS, BYTES))
    monkeypatch.setattr(definitions, "task_of", lambda kind: BYTES)
    definition["task"] = definition["task"] | {"kind": "language"}
    found = parse_sweep(definition, source="x").objectives
    assert list(found) == ["score_bits_per_byte_validation", "size_bytes", "speedup_b1"]
    with pytest.raises(ConfigError, match=r"unknown key objectives\.accuracy_validation"):
        parse_sweep(definition | {"objectives": {"accuracy_validation": "maximize"}}, source="x")


def test_an_unknown_task_is_refused_in_one_line(definition: dict[str, Any]) -> None:
    definition["task"] = definition["task"] | {"kind": "clasification"}
    with pytest.raises(ConfigError) as refused:
        parse_sweep(definition, source="x.yaml")
    (line,) = str(refused.value).splitlines()
    assert "kind must be one of classification, got 'clasification'" in line
