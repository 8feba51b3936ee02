"""Attainment against counting: how many sets have a point that is at least as good."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.figures.attainment import attainment_figure
from analysis.selection.attainment import attainment, seed_sets

MakeRows = Callable[..., pd.DataFrame]
PAIR = {"accuracy_validation": "maximize", "size_bytes": "minimize"}


def attained(sets: dict[str, pd.DataFrame], quality: float, size: float) -> int:
    """Number of sets with a model of at least this quality and at most this size."""
    return sum(
        ((found["accuracy_validation"] >= quality) & (found["size_bytes"] <= size)).any()
        for found in sets.values()
    )


@pytest.mark.parametrize("copies", [1, 3])
def test_a_corner_is_attained_by_its_share_of_the_seeds_and_nothing_better_is(
    copies: int, make_rows: MakeRows
) -> None:
    sets = seed_sets(make_rows(120, rich=True))
    assert list(sets) == ["seed 0", "seed 1", "seed 2"]
    sets = {f"{name} {copy}": found for name, found in sets.items() for copy in range(copies)}
    table = attainment(sets, PAIR, "size_bytes")
    assert table["level"].nunique() == 3
    for _, row in table.iterrows():
        needed = np.ceil(row["level"] * len(sets) - 1e-9)
        quality, size = row["accuracy_validation"], row["size_bytes"]
        assert attained(sets, quality, size) >= needed
        assert attained(sets, quality + 1e-9, size) < needed
        assert attained(sets, quality, size - 1) < needed


def test_levels_are_named_by_what_they_are(make_rows: MakeRows) -> None:
    sets = seed_sets(make_rows(60, rich=True))
    names = list(dict.fromkeys(attainment(sets, PAIR, "size_bytes")["name"]))
    assert names == ["the luckiest seed", "half of the seeds", "every seed"]
    one = next(iter(sets.values()))
    assert attainment({"a": one, "b": one}, PAIR, "size_bytes")["name"].iloc[-1] == "every seed"


def test_what_no_seed_can_change_is_in_every_set(make_rows: MakeRows) -> None:
    rows = make_rows(60, rich=True)
    sets = seed_sets(rows)
    assert all({0, 1, 2, 3} <= set(found["trial"]) for found in sets.values())
    searched = pd.concat(found[found["kind"].eq("search")] for found in sets.values())
    assert not searched["trial"].duplicated().any()


def test_one_seed_has_no_spread(make_rows: MakeRows) -> None:
    rows = make_rows(24)
    assert seed_sets(rows) == {} == seed_sets(make_rows(0))
    with pytest.raises(ValueError, match="at least 2 sets, got 1"):
        attainment({"only": rows}, PAIR, "size_bytes")


def test_the_lines_of_the_figure_are_the_corners(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    sets = seed_sets(make_rows(120, rich=True))
    figure = attainment_figure(sets, objectives)
    assert len(figure.axes) == 2
    table = attainment(sets, objectives, "size_bytes")
    for name, group in table.groupby("name"):
        (line,) = [line for line in figure.axes[0].lines if line.get_label() == name]
        corners = np.column_stack([group["size_bytes"] / 1e6, 100 * group["accuracy_validation"]])
        np.testing.assert_allclose(np.array(line.get_xydata())[: len(corners)], corners)
    assert "3 seeds" in " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
