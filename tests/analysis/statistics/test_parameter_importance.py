"""Permutation importance of plain arrays, against a target whose inputs are known."""

import numpy as np
import pytest

from analysis.statistics.parameter_importance import permutation_importance


def test_an_input_matters_as_much_as_the_target_depends_on_it() -> None:
    random = np.random.default_rng(3)
    features = random.uniform(size=(200, 3))
    found = permutation_importance(features, 10 * features[:, 1] + features[:, 2])
    assert list(np.argsort(found.fall)) == [0, 2, 1]
    assert abs(found.fall[0]) < found.fall[2] < 0.05
    # A shuffled input that explains all the variance leaves R² = 1 - 2 (two independent draws).
    assert found.fall[1] == pytest.approx(2.0, abs=0.3) and found.r2 > 0.9
    assert (found.error > 0).all()


def test_noise_has_no_r2() -> None:
    random = np.random.default_rng(4)
    found = permutation_importance(random.uniform(size=(100, 2)), random.uniform(size=100))
    assert found.r2 < 0.2


@pytest.mark.parametrize(
    ("features", "target", "said"),
    [
        (np.zeros((3, 1)), np.arange(3), "at least 5 rows, got 3"),
        (np.zeros((9, 1)), np.ones(9), "must vary"),
        (np.zeros((9, 1)), np.ones(8), r"\(9, 1\) and \(8,\)"),
        (np.zeros(9), np.ones(9), r"\(9,\) and \(9,\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    features: np.ndarray, target: np.ndarray, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        permutation_importance(features, target)
