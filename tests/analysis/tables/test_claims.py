"""What a pass promises, computed by hand, beside what was weighed and timed."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.figures.methods import audit_figure
from analysis.tables.claims import claim_table
from lmopt.methods.recipe import Recipe

MakeRows = Callable[..., pd.DataFrame]


def claim(rows: pd.DataFrame, objectives: dict[str, str], **changes: Any) -> dict[str, Any]:
    """What the audit says of the second model, when it was so and claimed what its recipe does."""
    zeros = changes.get("sparsity_measured", 0.0)
    claimed = Recipe(**json.loads(changes["recipe_json"])).canonical().claim(zeros)
    shares = {"claimed_weight_share": claimed.size, "claimed_work_share": claimed.work}
    changed = rows.assign(**dict.fromkeys(shares, 1.0))
    changes = changes | shares
    for name, value in changes.items():
        changed[name] = changed[name].astype(object)
        changed.loc[changed["trial"].eq(1), name] = value
    (row,) = claim_table(changed, objectives).to_dict("records")
    return {str(name): value for name, value in row.items()}


@pytest.fixture(name="two")
def _two(make_rows: MakeRows) -> pd.DataFrame:
    """A baseline and one model that is like it."""
    rows = make_rows(2, linear=False)
    same = {n: rows.loc[rows["trial"].eq(0), n].iloc[0] for n in ("size_bytes", "parameters")}
    return rows.assign(**same, speedup_b1=1.0, size_ratio=1.0, macs=1e9)


def test_a_masked_model_is_as_large_and_as_slow_as_before(
    two: pd.DataFrame, objectives: dict[str, str]
) -> None:
    found = claim(two, objectives, recipe_json=json.dumps({"sparsity": 0.7}), sparsity_measured=0.4)
    assert found["finding"] == "file unchanged (claimed 60.0 %), speed 1.0× (claimed 3.3×)"


@pytest.mark.parametrize(
    ("recipe", "size", "speed"),
    [
        ({"bits": 8}, 8 / 32, 4.0),
        ({"bits": 2}, 2 / 32, 16.0),
        ({"clusters": 16}, 4 / 32, 1.0),  # looked up, and multiplied as before
        ({"bits": 8, "embedding_bits": 4}, np.nan, np.nan),  # widths differ; no row says how much
    ],
)
def test_claims_are_bits_over_32(
    two: pd.DataFrame, objectives: dict[str, str], recipe: Any, size: float, speed: float
) -> None:
    found = claim(two, objectives, recipe_json=json.dumps(recipe))
    assert found["claimed_size_share"] == pytest.approx(size, nan_ok=True)
    assert found["claimed_speedup"] == pytest.approx(speed, nan_ok=True)
    assert ("claimed" in found["finding"]) == (not np.isnan(size))


def test_a_smaller_shape_claims_its_parameters_and_its_multiplications(
    two: pd.DataFrame, objectives: dict[str, str]
) -> None:
    changes = {"recipe_json": json.dumps({"layers": 2}), "parameters": two["parameters"][0] // 2}
    found = claim(two, objectives, **changes, macs=0.25e9)
    assert found["claimed_size_share"] == pytest.approx(0.5, rel=1e-6)
    assert found["claimed_speedup"] == pytest.approx(4.0)
    without = claim(two.assign(macs=np.nan), objectives, **changes)
    assert np.isnan(without["claimed_speedup"])  # no row says it: nothing is claimed


@pytest.mark.parametrize("trials", [0, 1, 4, 60])
def test_each_pass_stands_once_and_the_combination_last(
    trials: int, make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    table = claim_table(make_rows(trials, rich=True), objectives)
    assert table["methods"].map(len).is_monotonic_increasing
    assert not table["settings"].duplicated().any()
    assert (table["methods"].map(len) > 1).sum() <= 1
    assert len(table) >= trials - 1 or trials > 4
    audit_figure(table).draw_without_rendering()
