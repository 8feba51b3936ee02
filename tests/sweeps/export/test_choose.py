"""Which trial is taken home, on rows where the answer is known."""

import math
import re
from typing import Any

import pandas as pd
import pytest

from sweeps.definition.errors import ConfigError
from sweeps.export.choose import choose, choose_number, choose_trial, make_conditions

OBJECTIVES = {
    "accuracy_validation": "maximize",
    "size_bytes": "minimize",
    "speedup_b1": "maximize",
}


def row(trial: int, drop: float, size_mb: float, b1: float, b32: float, **more: Any) -> Any:
    """A completed trial; its test numbers say the opposite of the validation ones."""
    return {
        "trial": trial,
        "attempt": 0,
        "kind": "search",
        "method": None,
        "state": "COMPLETE",
        "error": None,
        "feasible": None,
        "accuracy_validation": 0.9 - drop,
        "accuracy_test": 0.5 + drop,
        "accuracy_drop_validation": drop,
        "accuracy_drop_test": -drop,
        "size_bytes": int(size_mb * 1e6),
        "speedup_b1": b1,
        "speedup_b32": b32,
        "processor": "one",
        "timed_alone": True,
    } | more


@pytest.fixture
def rows() -> pd.DataFrame:
    failed = {"state": "FAIL", "error": "diverged: loss is nan"}
    nothing = dict.fromkeys(("accuracy_validation", "size_bytes", "speedup_b1"), math.nan)
    table = [
        row(0, 0.0, 90, 1, 1, kind="reference", method="baseline"),
        row(1, 0.004, 23, 1.6, 2.8),
        row(2, 0.009, 9, 4, 7),
        row(3, 0.02, 4, 6, 14),
        row(4, 0.03, 3, 9, 20),
        row(5, 0.05, 2.5, 9.5, 21),
        row(6, 0, 0, 0, 0) | failed | nothing,
        row(7, 0.009, 12, 3.9, 9),  # dominated by 2, but for batch 32
    ]
    frame = pd.DataFrame(table).astype({"trial": "Int64", "feasible": "boolean"})
    linear = pd.DataFrame([{**table[1], "trial": None, "kind": "linear", "method": "linear"}])
    return pd.concat([frame, linear.astype({"trial": "Int64", "feasible": "boolean"})])


def under(rows: pd.DataFrame, **wishes: Any) -> int:
    given = dict.fromkeys(("max_accuracy_drop", "max_size_mb", "min_speedup", "batch")) | wishes
    return choose(rows, OBJECTIVES, conditions=make_conditions(**given)).trial


def test_without_a_wish_it_is_the_report_s_pick(rows: pd.DataFrame) -> None:
    choice = choose(rows, OBJECTIVES)
    assert choice.trial == 2 and "at most 1 point below" in choice.rule


def test_what_no_condition_limits_is_made_best_quality_first(rows: pd.DataFrame) -> None:
    assert under(rows, max_accuracy_drop=0.01) == 2  # the smallest
    assert under(rows, max_size_mb=10) == 2  # the most accurate
    assert under(rows, min_speedup=5) == 3  # the most accurate
    assert under(rows, max_accuracy_drop=0.04, max_size_mb=5) == 4  # the fastest
    assert under(rows, max_accuracy_drop=0.04, max_size_mb=5, min_speedup=5) == 3
    assert under(rows, max_accuracy_drop=0.01, min_speedup=8, batch="b32") == 7


def test_a_trial_that_breaks_the_sweep_s_constraints_is_not_chosen(rows: pd.DataFrame) -> None:
    rows["feasible"] = rows["trial"].ne(2)
    assert under(rows, max_accuracy_drop=0.01) == 7


def test_conditions_that_nobody_meets_name_the_nearest(rows: pd.DataFrame) -> None:
    with pytest.raises(ConfigError) as refused:
        under(rows, max_accuracy_drop=0.01, max_size_mb=5, min_speedup=4)
    said = str(refused.value)
    assert "validation drop at most 1.0 points; model size at most 5.0 MB" in said
    assert "the nearest is trial 2: validation drop 0.9 points, model size 9.0 MB" in said
    assert "\n" not in said


def test_the_knee_is_on_the_front(rows: pd.DataFrame) -> None:
    assert choose(rows, OBJECTIVES, knee=True).trial in {2, 3}


@pytest.mark.parametrize("linear", [0.5, 0.865, 0.875])
def test_the_knee_is_the_one_that_the_report_names(rows: pd.DataFrame, linear: float) -> None:
    """A teacher out of reach of one point, a linear model that is better than some of the front."""
    rows.loc[rows["method"].eq("baseline").fillna(False), "accuracy_validation"] = 0.93
    rows.loc[rows["kind"].eq("linear"), "accuracy_validation"] = linear
    best, knee = choose(rows, OBJECTIVES), choose(rows, OBJECTIVES, knee=True)
    assert (best.trial, best.rule) == (knee.trial, knee.rule) and "knee" in knee.rule
    assert knee.row["accuracy_validation"] > linear


def test_a_number_is_taken_by_its_word(rows: pd.DataFrame) -> None:
    assert choose(rows, OBJECTIVES, trial=7).trial == 7
    assert choose_number(rows, 0).row["method"] == "baseline"


def test_a_reference_point_is_taken_by_its_name(rows: pd.DataFrame) -> None:
    assert choose(rows, OBJECTIVES, trial="baseline").trial == 0
    assert choose_trial(rows, "7").trial == 7
    with pytest.raises(ConfigError, match=r"no trial 'best': .* reference point \(baseline\)"):
        choose_trial(rows, "best")
    rows.loc[rows["trial"].eq(6), ["kind", "method"]] = ["reference", "clustering"]
    with pytest.raises(ConfigError, match=r"trial 6 .*FAIL \(diverged"):
        choose_trial(rows, "clustering")
    rows.loc[rows["trial"].isin([1, 2]), ["kind", "method"]] = ["reference", "pruning"]  # two seeds
    with pytest.raises(ConfigError, match="pruning is the name of trials 1, 2: give one"):
        choose_trial(rows, "pruning")


def test_a_knee_that_nobody_would_take_says_so(rows: pd.DataFrame) -> None:
    assert "not worth" not in choose(rows, OBJECTIVES, knee=True).rule
    rows.loc[rows["kind"].eq("search"), "accuracy_validation"] -= 0.2
    rows = rows[rows["kind"].ne("linear")]
    rule = choose(rows, OBJECTIVES, knee=True).rule
    assert re.search(r"it loses 2\d\.\d points of validation accuracy: not worth taking$", rule)


def test_a_trial_without_numbers_says_why_and_names_the_nearest(rows: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match=r"trial 6 .*FAIL \(diverged.*nearest .* is (5|7)"):
        choose(rows, OBJECTIVES, trial=6)
    with pytest.raises(ConfigError, match="no trial 40; the nearest completed one is 7"):
        choose_number(rows, 40)


def test_the_linear_model_alone_is_nothing_to_take_home(rows: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match="no trial has finished yet"):
        choose(rows[rows["kind"].eq("linear")], OBJECTIVES)
    with pytest.raises(ConfigError, match="none is completed yet"):
        choose_number(rows[rows["kind"].eq("linear")], 0)


def test_wishes_exclude_each_other(rows: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match="one of --trial, --knee, or conditions"):
        choose(rows, OBJECTIVES, trial=1, knee=True)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"max_accuracy_drop": 1.0}, "0.01 is one point: got 1.0"),
        ({"max_accuracy_drop": math.nan}, "got nan"),
        ({"max_size_mb": 0.0}, "--max-size-mb must be a number above 0, got 0.0"),
        ({"min_speedup": -1.0}, "--min-speedup must be a number above 0"),
        ({"min_speedup": 2.0, "batch": "b64"}, "--batch must be b1 or b32, got 'b64'"),
        ({"batch": "b32"}, "give --min-speedup too"),
    ],
)
def test_a_condition_out_of_range_is_refused(wish: dict[str, Any], said: str) -> None:
    given = dict.fromkeys(("max_accuracy_drop", "max_size_mb", "min_speedup", "batch")) | wish
    with pytest.raises(ConfigError, match=said):
        make_conditions(**given)


def test_trials_of_another_processor_are_not_compared_and_the_rule_names_the_main_one(
    rows: pd.DataFrame,
) -> None:
    rows["processor_timed"] = rows["processor"].mask(rows["trial"].isin([3, 4]), "two")
    assert under(rows, min_speedup=5) == 5  # 3 is better, but was timed elsewhere
    for wishes in ({"knee": True}, {"conditions": make_conditions(0.04, 15, None, None)}, {}):
        found = choose(rows, OBJECTIVES, **wishes)
        assert found.row["processor_timed"] == "one" and found.rule.endswith(", on one")
    assert ", on" not in choose(rows.drop(columns="processor_timed"), OBJECTIVES).rule
