"""A worker and a bare loop run the same trials: their ratio is one of equal work."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import sweep
from benchmarks.sweep import sweep_ratio
from lmopt.methods.recipe import Recipe

pytestmark = pytest.mark.slow


def test_both_run_the_same_trials(
    csv_file: Path, classifier_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Recipe] = []
    run_recipe = sweep.run_recipe

    def noted(prepared: Any, recipe: Recipe, **keywords: Any) -> Any:
        ran.append(recipe)
        return run_recipe(prepared, recipe, **keywords)

    for module in (sweep, sweep.worker):
        monkeypatch.setattr(module, "run_recipe", noted)
    definition = {
        "name": "small",
        "task": {
            "dataset": str(csv_file), "text_column": "body", "label_column": "topic",
            "group_column": "document", "max_length": 32,
        },
        "teacher": {"model": str(classifier_folder)},
        "recipe": {"epochs": 1, "layers": 1},
        "search": {"bits": [8, 4]},
        "reference_points": {"distillation": {"bits": 32}},
        "runtime": {"rounds_b1": 3, "rounds_b32": 3},
        "study": {"trials": 2},
    }  # fmt: skip
    sweep_ratio(definition, rounds=1)
    one = [recipe.key() for recipe in ran[:2]]
    assert [recipe.key() for recipe in ran] == one * 4 and len(set(one)) == 2
