"""Picks against a search by hand."""

from collections.abc import Callable

import pandas as pd
import pytest

from analysis.selection.fronts import front_rows
from analysis.statistics.pareto import knee_index
from analysis.tables.methods_and_front import format_table
from analysis.tables.picks import LIMITS, picks_table, superlative

MakeRows = Callable[..., pd.DataFrame]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_pick_is_the_best_of_what_loses_at_most_so_much(
    seed: int, make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(80, rich=True, seed=seed)
    table = picks_table(rows, objectives)
    baseline = rows.loc[rows["method"].eq("baseline").fillna(False), "accuracy_validation"].iloc[0]
    models = rows[rows["state"].eq("COMPLETE") & rows["kind"].ne("linear")]
    for limit in LIMITS:
        near = models[models["accuracy_validation"] >= baseline - limit]
        said = table[table["pick"].str.startswith(f"≤ {100 * limit:g} point")]
        (smallest,) = said.loc[said["pick"].str.contains("smallest"), "trial"]
        (fastest,) = said.loc[said["pick"].str.contains("fastest"), "trial"]
        by_trial = near.set_index("trial")
        assert by_trial["size_bytes"][smallest] == near["size_bytes"].min()
        assert by_trial["speedup_b1"][fastest] == near["speedup_b1"].max()
    linear = rows.loc[rows["kind"].eq("linear"), "accuracy_validation"].item()
    front = front_rows(rows, objectives)
    front = front[front["accuracy_validation"].gt(linear) & front["kind"].eq("search")]
    knee = front.iloc[knee_index(front[list(objectives)], list(objectives.values()))]
    assert table.loc[table["pick"].eq("knee"), "trial"].item() == knee["trial"]
    assert list(format_table(table).columns[:3]) == ["pick", "trial", "settings"]


def test_a_limit_that_only_the_teacher_meets_is_the_teacher_s(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(40)
    rows.loc[rows["method"].eq("baseline").fillna(False), "accuracy_validation"] = 0.999
    table = picks_table(rows, objectives)
    limits = table[table["pick"].ne("knee")]
    assert len(limits) == len(LIMITS) and set(limits["trial"]) == {0}
    assert set(limits["settings"]) == {"untouched"}
    without = picks_table(rows[~rows["trial"].eq(0).fillna(False)], objectives, limits=[-1.0])
    assert list(without["pick"]) == ["knee"]  # a limit that nothing meets is left out
    assert picks_table(make_rows(0), objectives).empty


def test_superlatives_are_words_or_name_the_column() -> None:
    assert superlative("size_bytes", "minimize") == "smallest"
    assert superlative("latency_b32_p50_ms", "minimize") == "fastest at batch 32"
    assert superlative("macs", "minimize") == "least multiply-accumulates"
