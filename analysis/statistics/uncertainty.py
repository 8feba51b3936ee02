"""Estimate how sure a number is: errors by cluster, differences in pairs, intervals of ratios.

A metric that is no mean (F1, a correlation, nats per byte) is a smooth function of sums over the
examples. The delta method makes it a mean to first order, and the estimators of a mean do the rest.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_RESAMPLES = 2000
# A power of two, so that a division by it is exact: the gradient of a mean is 1 to the bit.
_IMAGINARY_STEP = 2.0**-100
Floats = NDArray[np.float64]
Metric = Callable[[NDArray[Any], float], Any]
"""(sums (k,) of the examples' statistics, number of examples) -> the metric.

It depends on the averages alone: `metric(c * sums, c * count)` is `metric(sums, count)`. It also
takes complex sums, so it is made of arithmetic and analytic functions, without abs, max or float.
"""


def clustered_mean(values: ArrayLike, groups: ArrayLike | None = None) -> tuple[float, float]:
    """Return the mean and its standard error where examples of one group are alike.

    Args:
        values: (n,) one number per example, e.g. 1 where the prediction is right.
        groups: (n,) the example's cluster, e.g. its document; None: each its own.

    Returns:
        Mean and standard error; the error is NaN when there is one group only.

    Raises:
        ValueError: no values, or not one group for each.

    Source: Cameron and Miller (2015), A Practitioner's Guide to Cluster-Robust Inference,
    Journal of Human Resources 50(2), section II: the sandwich estimator of a regression on a
    constant, with CR1's factor G / (G - 1), as (n - 1) / (n - k) is 1 here.
    """
    x: NDArray[np.float64] = np.asarray(values, dtype=float)
    if x.ndim != 1 or not x.size:
        raise ValueError(f"values must be (n,) with n > 0, got shape {x.shape}")
    codes = np.arange(x.size) if groups is None else np.unique(groups, return_inverse=True)[1]
    if codes.shape != x.shape:
        raise ValueError(f"groups must be as many as values, got {codes.size} and {x.size}")
    sums = np.bincount(codes, weights=x - x.mean())
    if len(sums) < 2:
        return float(x.mean()), float("nan")
    variance = len(sums) / (len(sums) - 1) * (sums**2).sum() / x.size**2
    return float(x.mean()), float(np.sqrt(variance))


def paired_difference(
    a: ArrayLike, b: ArrayLike, groups: ArrayLike | None = None
) -> tuple[float, float]:
    """Return mean(a - b) over the same examples (n,) and its clustered standard error.

    Two models that err on the same examples differ by less than their own errors suggest.

    Raises:
        ValueError: `a` and `b` are not of one shape; see also `clustered_mean`.
    """
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.shape != second.shape:
        raise ValueError(f"pairs must be of one shape, got {first.shape} and {second.shape}")
    return clustered_mean(first - second, groups)


def metric_with_error(
    statistics: ArrayLike, metric: Metric, groups: ArrayLike | None = None
) -> tuple[float, float]:
    """Return a metric of sums over the examples and its standard error by the delta method.

    The error is clustered. A mean (`metric` is `sums[0] / count`) has the numbers of
    `clustered_mean`, to the bit.

    Args:
        statistics: (n, k) numbers per example, e.g. whether it is a true positive of a class,
            predicted as it, and of it.
        metric: a smooth function of their sums.
        groups: (n,) the example's cluster; None: each its own.

    Returns:
        The metric and its standard error; the error is NaN when there is one group only.

    Raises:
        ValueError: `statistics` are not (n, k), or the metric depends on the number of examples
            beside the averages; see also `clustered_mean`.

    Source: Binder (1983), On the Variances of Asymptotically Normal Estimators from Complex
    Surveys, International Statistical Review 51: the error of the linearized metric.
    """
    value, linear = _linearized(statistics, metric)
    return value, clustered_mean(linear, groups)[1]


def metric_difference(
    a: ArrayLike, b: ArrayLike, metric: Metric, groups: ArrayLike | None = None
) -> tuple[float, float]:
    """Return metric(a) - metric(b) over the same examples and its clustered error, in pairs.

    `a` and `b` are statistics (n, k) as in `metric_with_error`. For a mean these are the numbers of
    `paired_difference`, to the bit.

    Raises:
        ValueError: as `metric_with_error` and `paired_difference`.
    """
    (value_a, linear_a), (value_b, linear_b) = (_linearized(x, metric) for x in (a, b))
    difference, error = paired_difference(linear_a, linear_b, groups)
    # The linear parts are subtracted example by example; only what is not linear remains.
    curved = (value_a - float(linear_a.mean())) - (value_b - float(linear_b.mean()))
    return difference + curved, error


def _linearized(statistics: ArrayLike, metric: Metric) -> tuple[float, Floats]:
    """Return the metric and each example's part in it (n,): gradient at the averages x statistics.

    The parts are known up to a constant, which no standard error depends on.
    """
    table = np.asarray(statistics)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"statistics must be (n, k) with n and k > 0, got shape {table.shape}")
    count = len(table)
    # One contiguous column at a time, as `numpy.mean` adds an array of one dimension.
    sums = np.array([np.ascontiguousarray(column, dtype=float).sum() for column in table.T])
    means = sums / count
    value, of_means = (float(np.real(metric(x, n))) for x, n in ((sums, count), (means, 1.0)))
    if not np.isclose(value, of_means, rtol=1e-6, atol=1e-9, equal_nan=True):
        raise ValueError(
            f"a metric must depend on the averages alone, got {value} of the sums of {count} "
            f"examples and {of_means} of their averages: divide by the number of examples"
        )
    linear = np.zeros(count)
    for slope, column in zip(_gradient(metric, means), table.T, strict=True):
        if slope != 0:
            linear += slope * column
    return value, linear


def _gradient(metric: Metric, means: Floats) -> Floats:
    """Return the derivatives (k,) of the metric of averages, exact to rounding.

    Source: Squire and Trapp (1998), Using Complex Variables to Estimate Derivatives of Real
    Functions, SIAM Review 40(1): Im f(x + ih) / h, which subtracts nothing.
    """
    slopes = np.zeros(len(means))
    point = means.astype(complex)
    for index, mean in enumerate(means):
        point[index] = complex(mean, _IMAGINARY_STEP)
        slopes[index] = np.imag(metric(point, 1.0)) / _IMAGINARY_STEP
        point[index] = mean
    return slopes


def critical_value(groups: float | None = None, level: float = 0.95) -> float:
    """Return how many standard errors an interval reaches to each side, by Student's t.

    Args:
        groups: number of clusters G that the standard error was taken over, for G - 1 degrees of
            freedom; None or NaN where it is unknown, which is taken as many.
        level: probability of the interval, in (0, 1).

    Returns:
        About 1.96 for many groups, 2.26 for ten, infinity for one.

    Raises:
        ValueError: fewer than one group, or a level outside (0, 1).

    Source: Cameron and Miller (2015), section VI.D: the normal quantile rejects too often with few
    clusters, T(G - 1) does so less.
    """
    from scipy.special import ndtri, stdtrit

    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    probability = (1 + level) / 2
    if groups is None or np.isnan(groups):
        return float(ndtri(probability))
    if groups < 1:
        raise ValueError(f"groups must be 1 or more, got {groups}")
    return float(stdtrit(groups - 1, probability)) if groups > 1 else float("inf")


def ratio_interval(
    reference_ms: ArrayLike, sample_ms: ArrayLike, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Return the ratio of medians, reference over sample, with its bootstrap percentile interval.

    Args:
        reference_ms: (k,) timings of the reference.
        sample_ms: (k,) timings taken in turn with them: one round is drawn as a pair, so that a
            slow moment of the machine that hit both does not count twice.
        level: probability of the interval, in (0, 1).

    Returns:
        Ratio, lower and upper end.

    Raises:
        ValueError: no timings, not in pairs, or not positive.

    Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 13.3.
    """
    pairs = _timed_pairs(reference_ms, sample_ms)
    draws = np.random.default_rng(seed).integers(len(pairs), size=(_RESAMPLES, len(pairs)))
    medians = np.median(pairs[draws], axis=1)  # (resamples, 2)
    tail = (1 - level) / 2
    low, high = np.quantile(medians[:, 0] / medians[:, 1], [tail, 1 - tail])
    reference, sample = np.median(pairs, axis=0)
    return float(reference / sample), float(low), float(high)


def _timed_pairs(reference_ms: ArrayLike, sample_ms: ArrayLike) -> NDArray[np.float64]:
    reference, sample = np.asarray(reference_ms, dtype=float), np.asarray(sample_ms, dtype=float)
    if reference.ndim != 1 or reference.shape != sample.shape or not reference.size:
        raise ValueError(f"timings must be two (k,), got {reference.shape} and {sample.shape}")
    pairs = np.column_stack([reference, sample])
    if not (pairs > 0).all():
        raise ValueError(f"timings must be positive, got {pairs.min()} ms")
    return pairs
