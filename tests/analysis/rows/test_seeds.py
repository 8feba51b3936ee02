"""What several seeds of one recipe come to: by hand, from three drops."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.figures.points import figure_points
from analysis.tables.methods_and_front import format_table, method_table

MakeRows = Callable[..., pd.DataFrame]
DROPS, ERRORS, SPEEDS = [0.01, 0.02, 0.03], [0.003, 0.004, 0.005], [2.0, 4.0, 8.0]


def with_three_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the reference point distillation trained twice more, with other seeds."""
    (place,) = np.flatnonzero(rows["method"].eq("distillation"))
    parts = [rows]
    for seed, drop, error, speed in zip(range(3), DROPS, ERRORS, SPEEDS, strict=True):
        row = rows.iloc[[place]].copy()
        recipe = {**json.loads(row["recipe_json"].item()), "seed": seed}
        row["recipe_json"], row["seed"] = json.dumps(recipe), seed
        row["accuracy_drop_test"], row["accuracy_drop_test_se"] = drop, error
        row["speedup_b1"] = speed
        if seed:
            row["trial"], row["method"] = 1000 + seed, f"distillation (seed {seed})"
        parts.append(row)
    return pd.concat([rows.drop(index=rows.index[place]), *parts[1:]], ignore_index=True)


def test_seeds_of_a_reference_point_are_one_row_with_their_mean(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    table = method_table(with_three_seeds(make_rows(40)), objectives).set_index("method")
    assert not any("seed" in name for name in table.index)
    mean = table.loc["distillation"]
    assert mean["seeds"] == 3
    assert mean["accuracy_drop_test"] == pytest.approx(0.02)
    texts, seeds = np.mean(np.square(ERRORS)), np.var(DROPS, ddof=1) / 3
    assert mean["accuracy_drop_test_se"] == pytest.approx(np.sqrt(texts + seeds))
    assert mean["speedup_b1"] == pytest.approx(4.0)
    assert list(format_table(table.reset_index())["seeds"])[:3] == ["–", "3", "1"]


def test_a_failed_seed_is_said_and_not_counted(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = with_three_seeds(make_rows(40))
    failed = rows["trial"].eq(1001)
    rows.loc[failed, ["state", "error"]] = ["FAIL", "DivergedError: loss is not finite"]
    numbers = [name for name in rows if str(name).startswith(("accuracy_", "speedup_"))]
    rows.loc[failed, numbers] = np.nan
    mean = method_table(rows, objectives).set_index("method").loc["distillation"]
    assert mean["seeds"] == 2
    assert mean["accuracy_drop_test"] == pytest.approx(0.02)
    assert mean["note"] == "DivergedError: loss is not finite"


def test_rows_without_a_recipe_are_not_taken_for_one(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(40)
    methods = list(method_table(rows, objectives)["method"])
    table = method_table(rows.drop(columns="recipe_json"), objectives)
    assert list(table["method"]) == methods and "seeds" not in table


def test_one_seed_of_a_point_has_its_name_in_the_figure(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    labels = figure_points(with_three_seeds(make_rows(40)), objectives)["label"].dropna()
    assert [label for label in labels if "distillation" in label] == ["distillation"]


def test_no_column_of_seeds_where_each_point_has_one(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    assert "seeds" not in method_table(make_rows(40), objectives)
