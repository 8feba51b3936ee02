"""Standard errors and intervals against closed forms, regression formulae and simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.statistics.uncertainty import clustered_mean, paired_difference, ratio_interval


def cr1_by_regression(y: np.ndarray, groups: np.ndarray) -> float:
    """The sandwich of a regression on a constant, matrix by matrix, with Stata's factor."""
    x = np.ones((len(y), 1))
    bread = np.linalg.inv(x.T @ x)
    residuals = y - x @ (bread @ x.T @ y)
    labels = np.unique(groups)
    meat = np.zeros((1, 1))
    for label in labels:
        score = x[groups == label].T @ residuals[groups == label]
        meat += np.outer(score, score)
    n, k, g = len(y), 1, len(labels)
    return float(np.sqrt(g / (g - 1) * (n - 1) / (n - k) * (bread @ meat @ bread)[0, 0]))


@given(
    st.lists(st.tuples(st.floats(-10, 10), st.integers(0, 4)), min_size=2, max_size=40).filter(
        lambda pairs: len({group for _, group in pairs}) > 1
    )
)
def test_clustered_error_is_the_sandwich(pairs: list[tuple[float, int]]) -> None:
    y, groups = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    mean, error = clustered_mean(y, groups)
    assert mean == pytest.approx(y.mean(), abs=1e-12)
    assert error == pytest.approx(cr1_by_regression(y, groups), rel=1e-9, abs=1e-12)


def test_without_groups_it_is_the_textbook_error() -> None:
    y = np.random.default_rng(0).normal(size=50)
    expected = y.std(ddof=1) / np.sqrt(50)
    assert clustered_mean(y) == pytest.approx((y.mean(), expected))
    assert clustered_mean(y, np.arange(50)) == pytest.approx((y.mean(), expected))


def test_copies_of_an_example_add_no_certainty() -> None:
    y = np.random.default_rng(0).integers(0, 2, size=60)
    copied, groups = np.repeat(y, 10), np.repeat(np.arange(60), 10)
    assert clustered_mean(copied, groups) == pytest.approx(clustered_mean(y))
    assert clustered_mean(copied)[1] < clustered_mean(y)[1] / 3


def test_groups_may_be_names_in_any_order() -> None:
    y = [1.0, 0.0, 1.0, 1.0]
    assert clustered_mean(y, ["b", "a", "a", "b"]) == clustered_mean(y, [7, 2, 2, 7])
    assert np.isnan(clustered_mean(y, ["a"] * 4)[1])


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 8)
    covered = {"clustered": 0, "naive": 0}
    for _ in range(400):
        ability = np.repeat(random.beta(6, 1.5, size=60), 8)  # of a document; mean 0.8
        right = random.random(480) < ability
        for name, by in (("clustered", groups), ("naive", None)):
            mean, error = clustered_mean(right, by)
            covered[name] += abs(mean - 0.8) < 1.96 * error
    assert covered["clustered"] / 400 == pytest.approx(0.95, abs=0.035)
    assert covered["naive"] / 400 < 0.90  # what clustering is for


def test_a_paired_difference_is_surer_than_two_means() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(100), 10)
    teacher = random.random(1000) < 0.88
    student = np.where(random.random(1000) < 0.04, ~teacher, teacher)
    difference, error = paired_difference(teacher, student, groups)
    assert difference == pytest.approx(teacher.mean() - student.mean())
    assert error == pytest.approx(
        cr1_by_regression(teacher.astype(float) - student.astype(float), groups)
    )
    apart = np.hypot(clustered_mean(teacher, groups)[1], clustered_mean(student, groups)[1])
    assert error < apart / 2
    assert paired_difference(teacher, teacher, groups) == (0.0, 0.0)


def test_a_ratio_of_constant_timings_is_exact() -> None:
    assert ratio_interval([30.0] * 5, [3.0] * 5) == (10.0, 10.0, 10.0)


def test_the_ratio_interval_covers_and_narrows() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for repeat in range(150):
        machine = random.lognormal(0, 0.3, 50)  # a slow moment hits both of a pair
        reference = 30 * machine * random.lognormal(0, 0.05, 50)
        sample = 10 * machine * random.lognormal(0, 0.05, 50)
        ratio, low, high = ratio_interval(reference, sample, seed=repeat)
        assert low <= ratio <= high
        covered += low <= 3.0 <= high
    assert covered / 150 > 0.9
    wide = ratio_interval(reference, sample, level=0.99)
    narrow = ratio_interval(reference, sample, level=0.5)
    assert wide[1] < narrow[1] <= narrow[2] < wide[2]
    assert ratio_interval(reference, sample, seed=1) == ratio_interval(reference, sample, seed=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: clustered_mean([]), "n > 0"),
        (lambda: clustered_mean([1.0, 2.0], [1]), "as many as values, got 1 and 2"),
        (lambda: paired_difference([1.0], [1.0, 2.0]), "of one shape"),
        (lambda: ratio_interval([1.0, 2.0], [1.0]), r"must be two \(k,\)"),
        (lambda: ratio_interval([], []), r"must be two \(k,\)"),
        (lambda: ratio_interval([1.0], [0.0]), "must be positive, got 0.0 ms"),
    ],
)
def test_what_cannot_be_estimated_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
