"""Failures are counted by what caused them."""

from collections.abc import Callable

import pandas as pd

from analysis.tables.search_costs import failure_table

MakeRows = Callable[..., pd.DataFrame]


def test_failures_are_counted_by_cause(make_rows: MakeRows) -> None:
    rows = make_rows(48, linear=False)
    failed = rows[~rows["state"].eq("COMPLETE")]
    again = rows[rows["trial"].eq(12)].assign(trial=failed["trial"].iloc[0], attempt=1)
    table = failure_table(pd.concat([rows, again]))
    assert table["attempts"].sum() == len(failed)
    assert table["never_completed"].sum() == len(failed) - 1  # one was tried again
    assert set(table["cause"]) == {"DivergedError", "out of memory"}
    assert failure_table(make_rows(4)).empty
