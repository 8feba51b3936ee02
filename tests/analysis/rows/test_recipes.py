"""The methods of a row: as it says them, and by the closed reader of schema 1 where it does not."""

import json
from typing import Any

import pandas as pd
import pytest

from analysis.rows.recipes import describe, method_settings, recipe_of, with_methods
from analysis.rows.schema1 import METHODS, has_effect
from analysis.rows.schema1 import method_settings as settings_of_schema1
from lmopt.methods.recipe import Recipe


def test_what_counts_as_no_compression_is_the_recipe_s_own_default() -> None:
    """Else a model that nothing was done to would be counted as compressed."""
    own = Recipe().model_dump()
    for method, defaults in METHODS.items():
        assert {field: own[field] for field in defaults} == dict(defaults), method
    assert settings_of_schema1(own) == {}
    assert describe(settings_of_schema1(own)) == "untouched"


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"layers": 1, "epochs": 2}, {"distillation": "1 layer"}),
        ({"layers": 0}, {"distillation": "static"}),
        ({"base": "student"}, {"distillation": "from a student"}),
        ({"epochs": 1.0}, {"distillation": "all layers"}),
        ({"vocabulary_min_count": 2}, {"vocabulary": "words seen 2+ times"}),
        ({"embedding_rank": 64}, {"factorization": "rank 64"}),
        ({"ffn_keep": 0.25}, {"structured pruning": "FFN 0.25"}),
        ({"sparsity": 0.7}, {"unstructured pruning": "sparsity 0.7"}),
        ({"clusters": 16}, {"clustering": "16 clusters"}),
        ({"bits": 8, "embedding_bits": 4}, {"quantization": "8 bits, embedding bits 4"}),
        ({"temperature": 9.0, "alpha": 1.0, "seed": 7, "learning_rate": 1.0}, {}),
    ],
)
def test_each_field_belongs_to_one_method(
    changes: dict[str, Any], settings: dict[str, str]
) -> None:
    assert settings_of_schema1({**Recipe().model_dump(), **changes}) == settings
    assert settings_of_schema1(changes) == settings  # rows of older versions leave fields out


def test_a_row_of_schema_2_says_its_methods_itself() -> None:
    row = {"methods": ["my pruning"], "settings": ["half"], "recipe_json": '{"bits": 4}'}
    assert method_settings(row) == {"my pruning": "half"}
    assert method_settings({"recipe_json": '{"bits": 4}'}) == {"quantization": "4 bits"}


def test_a_row_without_a_recipe_is_read_from_what_was_searched() -> None:
    row = {"recipe_json": None, "param_bits": 4.0, "param_layers": float("nan"), "trial": 3}
    assert recipe_of(row) == {"bits": 4.0}
    assert recipe_of({**row, "recipe_json": json.dumps({"bits": 2})}) == {"bits": 2}
    assert recipe_of({"trial": 3}) == {}
    found = with_methods(pd.DataFrame([row, {"trial": 4}], index=[7, 9]))
    assert list(found["methods"]) == [("quantization",), ()]
    assert list(found.index) == [7, 9]


@pytest.mark.parametrize(
    ("changes", "without"),
    [
        ({"clusters": 8, "bits": 4}, {"bits"}),
        ({"clusters": 8, "bits": 32}, {"bits"}),
        ({"layers": 2, "static_width": 64}, {"static_width"}),
        ({"layers": 2, "static_width": 256}, {"static_width"}),
        ({"layers": 0, "static_width": 256, "sparsity": 0.5}, {"sparsity"}),
        ({"layers": 0, "ffn_keep": 1.0, "sparsity": 0.0}, {"ffn_keep", "sparsity"}),
        ({"layers": 2, "ffn_keep": 1.0, "sparsity": 0.0}, set()),
        ({"bits": 8, "embedding_bits": 4, "epochs": 1.0, "seed": 3}, set()),
    ],
)
def test_what_had_no_effect_is_told_by_the_canonical_recipe(
    changes: dict[str, Any], without: set[str]
) -> None:
    canonical = Recipe(**changes).canonical().model_dump()
    assert {n for n, value in changes.items() if not has_effect(n, value, canonical)} == without
