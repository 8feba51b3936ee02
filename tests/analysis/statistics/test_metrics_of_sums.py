"""Errors of metrics that are functions of sums: against bootstrap, closed forms and simulation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from analysis.statistics.uncertainty import (
    clustered_mean,
    critical_value,
    metric_difference,
    metric_with_error,
    paired_difference,
)

Array = NDArray[Any]
Metric = Callable[[Array, float], Any]


def mean(sums: Array, count: float) -> Any:
    return sums[0] / count


def macro_f1(sums: Array, count: float) -> Any:
    right, predicted, gold = sums.reshape(3, -1)
    return (2 * right / (predicted + gold)).mean()


def pearson(sums: Array, count: float) -> Any:
    x, y, xx, yy, xy = sums / count
    return (xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y))


def moments(x: Array, y: Array) -> Array:
    return np.column_stack([x, y, x * x, y * y, x * y])


def counts(gold: Array, said: Array, classes: int) -> Array:
    truth, prediction = np.eye(classes)[gold], np.eye(classes)[said]
    return np.hstack([truth * prediction, prediction, truth])


def documents(random: np.random.Generator, number: int) -> Array:
    """Document of each example; documents of 1 to 12 examples."""
    return np.repeat(np.arange(number), random.integers(1, 13, number))


def classified(random: np.random.Generator, groups: Array, right: float) -> tuple[Array, Array]:
    """Gold classes (one frequent, one rare) and what a model says, that errs by document."""
    number = groups.max() + 1
    gold = random.choice(3, size=number, p=[0.6, 0.3, 0.1])[groups]
    ability = random.beta(8 * right, 8 * (1 - right), number)[groups]
    other = (gold + random.integers(1, 3, len(gold))) % 3
    return gold, np.where(random.random(len(gold)) < ability, gold, other)


def bootstrap_error(
    statistics: Array, metric: Metric, groups: Array, resamples: int = 2000
) -> float:
    """Standard deviation of the metric over documents drawn anew: no derivative is taken."""
    random = np.random.default_rng(1)
    number = groups.max() + 1
    sums = np.zeros((number, statistics.shape[1]))
    np.add.at(sums, groups, statistics)
    sizes = np.bincount(groups)
    values = []
    for _ in range(resamples):
        drawn = random.integers(number, size=number)
        values.append(metric(sums[drawn].sum(axis=0), sizes[drawn].sum()))
    return float(np.std(values, ddof=1))


numbers = st.lists(
    st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.integers(0, 4)),
    min_size=1,
    max_size=60,
)


@given(numbers)
def test_a_mean_has_the_numbers_of_a_mean_to_the_bit(
    triples: list[tuple[float, float, int]],
) -> None:
    a, b, groups = (np.array(column) for column in zip(*triples, strict=True))
    other = np.arange(len(a), dtype=float)  # a statistic that another metric is made of
    first, second = np.column_stack([a, other]), np.column_stack([b, other])
    for by in (None, groups):
        np.testing.assert_array_equal(metric_with_error(first, mean, by), clustered_mean(a, by))
        expected = paired_difference(a, b, by)
        np.testing.assert_array_equal(metric_difference(first, second, mean, by), expected)


def test_accuracy_of_many_texts_is_the_same_to_the_bit() -> None:
    random = np.random.default_rng(0)
    for n in (1, 7, 999, 10_007):
        a, b = random.random((2, n)) < 0.87
        groups = random.integers(0, max(2, n // 9), n)
        stacked = [np.column_stack([x, b, a]).astype(np.uint8) for x in (a, b)]
        expected = clustered_mean(a.astype(float), groups)
        np.testing.assert_array_equal(metric_with_error(stacked[0], mean, groups), expected)
        expected = paired_difference(a.astype(float), b.astype(float), groups)
        np.testing.assert_array_equal(metric_difference(*stacked, mean, groups), expected)


def test_the_error_of_macro_f1_is_the_bootstraps() -> None:
    random = np.random.default_rng(0)
    groups = documents(random, 300)
    gold, said = classified(random, groups, 0.8)
    statistics = counts(gold, said, 3)
    value, error = metric_with_error(statistics, macro_f1, groups)
    assert value == macro_f1(statistics.sum(axis=0), len(statistics))
    assert error == pytest.approx(bootstrap_error(statistics, macro_f1, groups), rel=0.08)
    assert error > 1.2 * metric_with_error(statistics, macro_f1)[1]  # documents are alike


def test_the_error_of_a_correlation_is_the_bootstraps() -> None:
    random = np.random.default_rng(0)
    groups = documents(random, 300)
    shared = random.normal(size=(2, 300))[:, groups]
    x = shared[0] + random.normal(size=len(groups))
    y = 0.6 * x + shared[1] + random.normal(size=len(groups))
    value, error = metric_with_error(moments(x, y), pearson, groups)
    assert value == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert error == pytest.approx(bootstrap_error(moments(x, y), pearson, groups), rel=0.08)


def test_a_rank_correlation_is_a_function_of_sums_too() -> None:
    """With ties. What an example changes in the ranks of all others belongs to its statistics."""
    random = np.random.default_rng(0)
    groups = documents(random, 150)
    shared = random.normal(size=(2, 150))[:, groups]
    x = shared[0] + random.normal(size=len(groups))
    y = np.round(2 * (0.6 * x + shared[1] + random.normal(size=len(groups)))) / 2
    value, error = metric_with_error(rank_moments(x, y), spearman, groups)
    assert value == pytest.approx(stats.spearmanr(x, y).statistic)
    drawn = []
    for _ in range(500):
        texts = np.concatenate(
            [np.flatnonzero(groups == g) for g in random.integers(150, size=150)]
        )
        drawn.append(stats.spearmanr(x[texts], y[texts]).statistic)
    assert error == pytest.approx(np.std(drawn, ddof=1), rel=0.12)


def spearman(sums: Array, count: float) -> Any:
    xx, yy, xy = sums / count - 0.25  # the mean of relative mid-ranks is a half
    return xy / np.sqrt(xx * yy)


def rank_moments(x: Array, y: Array) -> Array:
    """(n, 3) products of relative mid-ranks, and to first order what an example does to others'."""
    below = [(a[:, None] < a) + 0.5 * (a[:, None] == a) for a in (x, y)]
    u, v = (b.mean(axis=0) for b in below)
    (uu, uv), (vv, vu) = (
        [(b * rank).mean(axis=1) for rank in ranks]
        for b, ranks in zip(below, ((u, v), (v, u)), strict=True)
    )
    others = np.column_stack([2 * uu, 2 * vv, uv + vu])
    return np.column_stack([u * u, v * v, u * v]) + others - others.mean(axis=0)


def test_the_error_of_a_normal_correlation_is_the_textbooks() -> None:
    random = np.random.default_rng(0)
    x, noise = random.normal(size=(2, 20_000))
    value, error = metric_with_error(moments(x, 0.75 * x + noise), pearson)
    assert error == pytest.approx((1 - value**2) / np.sqrt(20_000), rel=0.03)


def test_a_difference_in_pairs_is_the_bootstraps() -> None:
    random = np.random.default_rng(0)
    groups = documents(random, 300)
    gold, teacher = classified(random, groups, 0.85)
    changed = random.random(len(gold)) < 0.08
    student = np.where(changed, (teacher + 1) % 3, teacher)
    a, b = counts(gold, teacher, 3), counts(gold, student, 3)

    def both(sums: Array, count: float) -> Any:
        return macro_f1(sums[:9], count) - macro_f1(sums[9:], count)

    difference, error = metric_difference(a, b, macro_f1, groups)
    n = len(gold)
    assert difference == pytest.approx(macro_f1(a.sum(0), n) - macro_f1(b.sum(0), n), abs=1e-15)
    assert error == pytest.approx(bootstrap_error(np.hstack([a, b]), both, groups), rel=0.08)
    apart = np.hypot(*(metric_with_error(x, macro_f1, groups)[1] for x in (a, b)))
    assert error < apart / 2
    assert metric_difference(a, a, macro_f1, groups) == (0.0, 0.0)


def test_the_interval_of_macro_f1_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    gold, said = classified(random, documents(random, 200_000), 0.8)
    truth = macro_f1(counts(gold, said, 3).sum(axis=0), len(gold))
    covered = 0
    for _ in range(400):
        groups = documents(random, 80)
        value, error = metric_with_error(
            counts(*classified(random, groups, 0.8), 3), macro_f1, groups
        )
        covered += abs(value - truth) < critical_value(80) * error
    assert covered / 400 == pytest.approx(0.95, abs=0.035)


def test_with_few_documents_students_t_covers_and_the_normal_does_not() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(5), 8)
    covered = {"t": 0, "normal": 0}
    for _ in range(1000):
        values = np.repeat(random.normal(size=5), 8) + 0.1 * random.normal(size=40)
        value, error = clustered_mean(values, groups)
        covered["t"] += abs(value) < critical_value(5) * error
        covered["normal"] += abs(value) < critical_value() * error
    assert covered["t"] / 1000 == pytest.approx(0.95, abs=0.025)
    assert covered["normal"] / 1000 < 0.9


def test_critical_values_are_those_of_the_tables() -> None:
    for groups, expected in ((2, 12.706), (5, 2.776), (10, 2.262), (31, 2.042), (121, 1.980)):
        assert critical_value(groups) == pytest.approx(expected, abs=5e-4)
    assert critical_value(None) == critical_value(float("nan")) == pytest.approx(1.959964)
    assert critical_value(10**7) == pytest.approx(critical_value(), abs=1e-6)
    assert critical_value(1) == float("inf")
    assert critical_value(12, level=0.9) == pytest.approx(stats.t(11).ppf(0.95))
    assert critical_value(level=0.5) == pytest.approx(stats.norm.ppf(0.75))


def test_one_document_has_no_error() -> None:
    statistics = counts(np.array([0, 1, 2, 0]), np.array([0, 1, 2, 1]), 3)
    value, error = metric_with_error(statistics, macro_f1, np.zeros(4))
    assert value == pytest.approx((2 / 3 + 2 / 3 + 1) / 3) and np.isnan(error)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metric_with_error([1.0, 2.0], mean), r"must be \(n, k\)"),
        (lambda: metric_with_error(np.zeros((0, 2)), mean), r"must be \(n, k\)"),
        (lambda: metric_with_error([[1.0], [2.0]], lambda s, n: s[0]), "averages alone, got 3.0"),
        (lambda: metric_with_error([[1.0], [2.0]], mean, [1]), "as many as values"),
        (lambda: metric_difference([[1.0]], [[1.0], [2.0]], mean), "of one shape"),
        (lambda: critical_value(0), "1 or more, got 0"),
        (lambda: critical_value(level=1.0), r"in \(0, 1\), got 1.0"),
    ],
)
def test_what_cannot_be_estimated_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
