"""Conditions and orders as people type them, against pandas' own masks; mistakes in one line."""

from collections.abc import Callable

import pandas as pd
import pytest

from analysis.selection.fronts import front_rows
from analysis.selection.objectives import candidates
from analysis.selection.query import matching, sorted_by
from analysis.tables.methods_and_front import front_table

MakeRows = Callable[..., pd.DataFrame]


def test_a_condition_names_columns_and_the_recipe_s_fields(make_rows: MakeRows) -> None:
    rows = make_rows(60)
    models = candidates(rows)
    found = matching(rows, "bits <= 4 and accuracy_validation > 0.87 and size_bytes < 1e7")
    mask = models["param_bits"].astype(float).le(4)
    mask &= models["accuracy_validation"].gt(0.87) & models["size_bytes"].lt(1e7)
    assert 0 < len(found) < len(models)
    assert list(found["trial"]) == list(models.loc[mask, "trial"])
    # A reference point was searched for nothing, yet its recipe has bits.
    assert set(matching(rows, "bits == 8 and kind == 'reference'")["trial"]) == {3}
    assert list(matching(rows, "trial in [1, 5]")["trial"]) == [1, 5]


def test_what_a_row_does_not_have_meets_no_condition(make_rows: MakeRows) -> None:
    rows = make_rows(24)
    rows.loc[rows["trial"].eq(4), "speedup_b1"] = None
    assert 4 not in set(matching(rows, "speedup_b1 > 0 or speedup_b1 <= 0")["trial"])


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("bitss <= 4", "no column 'bitss' in 'bitss <= 4', did you mean 'bits'?"),
        ("accuracy > 0.8 and zzz", "no column"),
        ("bits", "'bits' is no condition"),
        ("bits + 1", "is no condition"),
        ("bits <=", "cannot read 'bits <='"),
        ("bits <= 'a'", "cannot read"),
        ("", "cannot read ''"),
        ("__import__('os').getcwd()", "cannot read"),
        ("@pd.read_csv('x')", "cannot read"),
    ],
)
def test_a_mistake_is_one_line_with_the_columns(
    make_rows: MakeRows, condition: str, said: str
) -> None:
    with pytest.raises(ValueError, match="columns: ") as error:
        matching(make_rows(12), condition)
    text = str(error.value)
    assert said in text and "\n" not in text
    assert "bits" in text.split("columns: ")[1] and "param_" not in text.split("columns: ")[1]


@pytest.mark.parametrize(
    ("column", "source", "ascending"),
    [
        ("size_bytes", "size_bytes", True),
        ("-size_bytes", "size_bytes", False),
        ("accuracy_test", "accuracy_test", False),
        ("speedup_b1", "speedup_b1", False),
        ("accuracy_drop_test", "accuracy_drop_test", True),
        ("bits", "param_bits", True),
    ],
)
def test_the_better_end_comes_first(
    make_rows: MakeRows, objectives: dict[str, str], column: str, source: str, ascending: bool
) -> None:
    rows = make_rows(60)
    table = front_table(rows, objectives)
    found = sorted_by(table, front_rows(rows, objectives), column)
    values = found[source].dropna().astype(float)
    assert values.is_monotonic_increasing if ascending else values.is_monotonic_decreasing
    assert sorted(found["trial"]) == sorted(table["trial"])
    with pytest.raises(ValueError, match="no column 'sizebytes', did you mean 'size_bytes'"):
        sorted_by(table, front_rows(rows, objectives), "sizebytes")
