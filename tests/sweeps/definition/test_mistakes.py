"""Mistakes in a definition that YAML and numbers let pass: each is refused, or said by `check`."""

import copy
from pathlib import Path
from typing import Any

import pytest

from sweeps.definition.errors import ConfigError
from sweeps.definition.sweep import load_sweep, parse_sweep
from sweeps.preflight.check import _search_notes
from tests.sweeps.small_run import DEFINITION


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"search": {"sparsity": {"type": "float", "low": 0, "high": float("inf")}}}, "finite"),
        ({"search": {"sparsity": {"type": "float", "low": float("nan"), "high": 0.5}}}, "finite"),
        ({"constraints": {"size_bytes": {"max": float("inf")}}}, "finite"),
        ({"constraints": {"size_bytes": {"min": 9, "max": 8}}}, "min must not be above max"),
        (
            {"constraints": {"accuracy_validation": {"min": 90}}},
            r"constraints\.accuracy_validation\.min must be a share .* write 0\.9 for 90 %",
        ),
        (
            {"constraints": {"accuracy_drop_validation": {"max": 2}}},
            r"must be a share .* write 0\.02 for 2 %",
        ),
    ],
)
def test_a_number_that_cannot_be_meant_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_sweep(copy.deepcopy(DEFINITION) | changes, source="x")


def test_a_bound_that_can_be_meant_is_not() -> None:
    limits = {"accuracy_validation": {"min": 0.9}, "accuracy_drop_validation": {"max": -0.01}}
    parse_sweep(copy.deepcopy(DEFINITION) | {"constraints": limits}, source="x")


def test_a_key_that_is_given_twice_names_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("name: a\nrecipe:\n  epochs: 1\n  bits: 8\n  epochs: 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="key 'epochs' is given in line 3 and in line 5"):
        load_sweep(path)


@pytest.mark.parametrize(
    ("trials_beyond_the_space", "sampler", "words"),
    [
        (0, "tpe", []),
        (1, "tpe", ["trials for the search, and the space 36 points"]),
        (0, "nsga2", ["this is random search"]),
    ],
)
def test_check_says_what_the_search_will_not_do(
    trials_beyond_the_space: int, sampler: str, words: list[str]
) -> None:
    sweep = parse_sweep(copy.deepcopy(DEFINITION), source="x")
    trials = len(sweep.references()) + 36 + trials_beyond_the_space  # 3 x 3 x 4 points
    study = {"trials": trials, "sampler": sampler}
    notes = list(_search_notes(parse_sweep(DEFINITION | {"study": study}, source="x")))
    assert len(notes) == len(words)
    assert all(word in note for word, note in zip(words, notes, strict=True))
