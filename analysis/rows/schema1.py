"""Rows of schema 1, which did not say their methods: read from the recipe's fields.

This table is closed. Rows of schema 2 carry `methods`, `settings` and `idle_parameters`, so that no
new method is ever added here.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

Recipe = Mapping[str, Any]
# Method -> the fields that decide its size and speed, with what "no compression" is. Training
# settings (temperature, epochs, ...) decide quality only.
METHODS: Mapping[str, Recipe] = {
    "distillation": {"base": "teacher", "layers": None, "hidden_size": None},
    "vocabulary": {"vocabulary_min_count": None},
    "factorization": {"embedding_rank": None},
    "structured pruning": {"ffn_keep": 1.0, "heads_keep": 1.0},
    "unstructured pruning": {"sparsity": 0.0},
    "clustering": {"clusters": None, "embedding_clusters": None},
    "quantization": {
        "bits": 32,
        "number_format": "int",
        "embedding_bits": None,
        "activation_bits": None,
        "mixed_share": 0.0,
    },
}
_NAMES = {
    "ffn_keep": "FFN",
    "heads_keep": "heads",
    "hidden_size": "hidden",
    "embedding_rank": "rank",
    "number_format": "",
    "mixed_share": "mixed",
}


def method_settings(recipe: Recipe) -> dict[str, str]:
    """The methods that a recipe uses, in their order, each with its settings as text.

    >>> method_settings({"layers": 2, "epochs": 1, "bits": 4})
    {'distillation': '2 layers', 'quantization': '4 bits'}
    """
    taught = any((recipe.get(name) or 0) > 0 for name in ("pretrain_epochs", "epochs"))
    used = {}
    for method, defaults in METHODS.items():
        changed = {
            field: recipe[field]
            for field, default in defaults.items()
            if recipe.get(field) is not None and recipe[field] != default
        }
        if changed or (method == "distillation" and taught):
            used[method] = ", ".join(_setting(k, v) for k, v in changed.items()) or "all layers"
    return used


def _setting(field: str, value: Any) -> str:
    number = f"{value:g}" if isinstance(value, int | float) else str(value)
    if field == "base":
        return f"from a {number}"
    if field in ("bits", "clusters"):
        return f"{number} {field}"
    if field == "layers":
        return {"0": "static", "1": "1 layer"}.get(number, f"{number} layers")
    if field == "vocabulary_min_count":
        return f"words seen {number}+ times"
    return f"{_NAMES.get(field, field.replace('_', ' '))} {number}".strip()


def has_effect(name: str, value: Any, recipe: Recipe) -> bool:
    """Whether a searched field decided anything, by the canonical recipe that came of it.

    The canonical form has what cannot matter at its default; a value that is the default itself
    is told by what it depends on.

    >>> has_effect("bits", 4, {"clusters": 8, "bits": 32})
    False
    """
    if name not in recipe or pd.isna(value):
        return True
    if str(recipe[name]) != str(value) and recipe[name] != value:
        return False
    if name in METHODS["quantization"] or name == "rounding":
        return recipe.get("clusters") is None
    if name.startswith("static_"):
        return recipe.get("layers") == 0
    if name in METHODS["structured pruning"] or name in METHODS["unstructured pruning"]:
        return recipe.get("layers") != 0
    return True
