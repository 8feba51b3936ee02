"""What decides an objective matters most for it."""

from collections.abc import Callable

import pandas as pd

from analysis.tables.parameter_importance import (
    parameter_importance,
)

MakeRows = Callable[..., pd.DataFrame]


def test_a_parameter_that_decides_an_objective_matters_most(make_rows: MakeRows) -> None:
    rows = make_rows(60)
    rows["size_bytes"] = 1e6 * rows["param_bits"].astype(float)
    table = parameter_importance(rows, {"size_bytes": "minimize"}).set_index("parameter")
    assert table["importance"].idxmax() == "param_bits"
    others = table["importance"].drop("param_bits")
    assert (others.abs() < 0.1 * table["importance"]["param_bits"]).all()
    assert table["r2"].iloc[0] > 0.8
