"""Which methods a row's recipe uses, and at which settings: read from `recipe_json` alone.

A recipe's field that is absent or at its default means "not done", so rows of older versions and
of other sweeps read the same way.
"""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.rows.records import records

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


def recipe_of(row: Mapping[str, Any] | pd.Series) -> dict[str, Any]:
    """The row's recipe; its searched parameters where it has no recipe; empty where neither."""
    text = row.get("recipe_json")
    if isinstance(text, str):
        return dict(json.loads(text))
    prefix = "param_"
    return {
        str(name).removeprefix(prefix): value
        for name, value in row.items()
        if str(name).startswith(prefix) and not pd.isna(value)
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


def is_off(name: str, value: Any) -> bool:
    """Whether a field at this value leaves the model as it is.

    >>> is_off("sparsity", 0.0), is_off("sparsity", 0.5), is_off("temperature", 2.0)
    (True, False, False)
    """
    return any(name in fields and value == fields[name] for fields in METHODS.values())


def effective_parameters(models: pd.DataFrame) -> pd.DataFrame:
    """The models with the searched parameters that had no effect left blank."""
    kept = had_effect(models)
    idle = [str(name) for name in kept if not kept[name].all()]
    return models.assign(**{name: models[name].where(kept[name]) for name in idle})


def had_effect(models: pd.DataFrame) -> pd.DataFrame:
    """`has_effect` of each `param_` column, model by model."""
    names = [str(name) for name in models if str(name).startswith("param_")]
    kept = pd.DataFrame(True, models.index, names)
    if "recipe_json" in models:
        recipes = [recipe_of(row) for row in records(models[["recipe_json"]])]
        for name in names:
            pairs = zip(models[name], recipes, strict=True)
            kept[name] = [has_effect(name.removeprefix("param_"), *pair) for pair in pairs]
    return kept


def with_methods(models: pd.DataFrame) -> pd.DataFrame:
    """The models with `recipe` (dict), `settings` (method -> text) and `methods` (a tuple)."""
    recipes = [recipe_of(row) for row in records(models)]
    settings = [method_settings(recipe) for recipe in recipes]
    columns = {
        "recipe": recipes,
        "settings": settings,
        "methods": [tuple(used) for used in settings],
    }
    return models.assign(
        **{name: pd.Series(values, models.index, dtype=object) for name, values in columns.items()}
    )


def describe(settings: Mapping[str, str]) -> str:
    """All settings in one line; the untouched teacher by that name."""
    return ", ".join(settings.values()) or "untouched"
