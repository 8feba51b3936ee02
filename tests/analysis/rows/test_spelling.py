"""A suggestion for an unknown name: the one that was meant, or none."""

import pytest

from analysis.rows.spelling import edit_distance, nearest_name
from lmopt.methods.recipe import Recipe
from sweeps.definition.sweep import OBJECTIVES, SweepConfig

SECTIONS = ("task", "teacher", "student", "runtime", "study", "resources")
KNOWN = [
    *Recipe.model_fields,
    *SweepConfig.model_fields,
    *OBJECTIVES,
    *(
        name
        for section in SECTIONS
        for name in SweepConfig.model_fields[section].annotation.model_fields
    ),
]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("serach", "search"),
        ("temprature", "temperature"),
        ("Temperature", "temperature"),
        ("max_lenght", "max_length"),
        ("maxlength", "max_length"),
        ("learning-rate", "learning_rate"),
        ("epoch", "epochs"),
        ("layer", "layers"),
        ("bitz", "bits"),
        ("trails", "trials"),
        ("seeds", "seed"),
        ("sizebytes", "size_bytes"),
        ("size", "size_bytes"),
        ("speed", "speedup_b1"),
        ("accuracy", "accuracy_validation"),
        ("n_layers", "layers"),
        ("kd_temperature", "temperature"),
        ("weight_bits", "bits"),
        ("model_name", "model"),
    ],
)
def test_what_was_meant_is_suggested(typed: str, meant: str) -> None:
    assert nearest_name(typed, KNOWN) == meant


@pytest.mark.parametrize(
    "typed",
    [
        *("pruning", "prune", "quantize", "quant", "budget", "metrics", "cache", "labels", "jobs"),
        *("lr", "bs", "ep", "gpu", "path", "goal", "warmup", "scheduler", "output", "id", "x"),
    ],
)
def test_a_far_fetched_name_is_not_suggested(typed: str) -> None:
    assert nearest_name(typed, KNOWN) is None


@pytest.mark.parametrize(
    ("a", "b", "slips"),
    [
        ("kitten", "sitting", 3),
        ("bits", "bits", 0),
        ("", "abc", 3),
        ("ca", "ac", 1),
        ("trails", "trials", 1),
        ("abcd", "badc", 2),
    ],
)
def test_slips_are_counted_as_in_the_literature(a: str, b: str, slips: int) -> None:
    assert edit_distance(a, b) == edit_distance(b, a) == slips
