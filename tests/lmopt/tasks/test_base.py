"""Outputs that are no numbers have no score."""

import numpy as np
import pytest

from lmopt.tasks.base import NotFiniteError, check_finite


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_text_with_an_output_that_is_no_number_is_counted_by_its_split(bad: float) -> None:
    outputs = {"validation": np.zeros((4, 3), np.float32), "test": np.zeros((5, 3), np.float32)}
    check_finite(outputs)
    outputs["test"][1, 2] = outputs["test"][3, :] = bad
    with pytest.raises(NotFiniteError, match=r"for 2 of 5 texts of the test split: ") as one:
        check_finite(outputs)
    assert "validation" not in str(one.value)
    outputs["validation"][0, 0] = bad
    with pytest.raises(NotFiniteError, match="1 of 4 texts of the validation split and 2 of 5"):
        check_finite(outputs)
    check_finite({"test": np.zeros((0, 3), np.float32)})
