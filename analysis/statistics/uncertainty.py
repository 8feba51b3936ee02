"""How sure a number is: standard errors by cluster, differences in pairs, intervals of ratios."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_RESAMPLES = 2000


def clustered_mean(values: ArrayLike, groups: ArrayLike | None = None) -> tuple[float, float]:
    """Mean and its standard error when examples of one group go right or wrong together.

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
    """mean(a - b) over the same examples (n,) and its clustered standard error.

    Two models that err on the same examples differ by less than their own errors suggest.

    Raises:
        ValueError: `a` and `b` are not of one shape; see also `clustered_mean`.
    """
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.shape != second.shape:
        raise ValueError(f"pairs must be of one shape, got {first.shape} and {second.shape}")
    return clustered_mean(first - second, groups)


def ratio_interval(
    reference_ms: ArrayLike, sample_ms: ArrayLike, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Ratio of medians, reference over sample, with its bootstrap percentile interval.

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
