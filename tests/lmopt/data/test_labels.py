from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmopt.data.labels import class_names, read_labels, suspected_scale
from lmopt.data.tables import Table


def column(values: list[Any], *, typed: bool, name: str = "x.csv") -> Table:
    return Table(name, "line", range(2, len(values) + 2), {"label": values}, typed=typed)


def labels_of(values: list[Any], *, typed: bool) -> list[str | int]:
    return read_labels([column(values, typed=typed)], "label")[0]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["-1", "0", "1"], [-1, 0, 1]),
        (["-1", "0", "+1"], [-1, 0, 1]),
        (["10", " 9", "2 "], [10, 9, 2]),
        (["1.0", "2.0", "10.0"], [1, 2, 10]),  # As pandas writes integers beside empty cells.
        (["001", "002", "010"], ["001", "002", "010"]),
        (["1", "a", "10"], ["1", "a", "10"]),
        ([" spam", "ham "], ["spam", "ham"]),
        (["TRUE", "FALSE"], ["True", "False"]),
        (["1e3", "2e3"], ["1e3", "2e3"]),
        (["[a]", "(b)"], ["[a]", "(b)"]),
        (["10.71.11", "62.01"], ["10.71.11", "62.01"]),
    ],
)
def test_labels_of_csv_are_the_text_that_they_are(written: list[str], read: list[Any]) -> None:
    assert labels_of(written, typed=False) == read


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30))
def test_whole_numbers_are_in_their_order_in_every_format(numbers: list[int]) -> None:
    texts = labels_of([str(n) for n in numbers], typed=False)
    assert (
        texts
        == labels_of(numbers, typed=True)
        == labels_of([float(n) for n in numbers], typed=True)
    )
    names, index = class_names(texts)
    assert names == [str(n) for n in sorted(set(numbers))]
    assert [names[index[label]] for label in texts] == [str(n) for n in numbers]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (["1", "1.0", "0"], "'1' and '1.0' are one value"),
        (["01", "1", "2"], "'01' and '1' are one value"),
        (["true", "TRUE", "false"], "'TRUE' and 'true' are one value"),
        (["1", "1.5", "2"], r"3 numbers with fractions \(1, 1.5, 2\).*regression"),
        (["1,5", "2", "2,5"], "3 numbers with fractions"),
        (["[0, 1]", "[1]"], r"labels are lists \(\[0, 1\] in line 2 of x.csv\)"),
        (["['a', 'b']", "['a']"], "labels are lists"),
        (["[0 1]", "[1 0]"], "labels are lists"),
    ],
)
def test_csv_labels_that_are_no_classes_are_refused(written: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        labels_of(written, typed=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0, 1.5, 2.0], "3 numbers with fractions.*write them as words"),
        ([Decimal("1.5"), Decimal(2)], "2 numbers with fractions"),
        ([0, [0, 1]], r"labels are lists \(\[0, 1\] in line 3"),
        ([[], []], "labels are lists"),
        ([[{"start": 0, "end": 3}]], "lists of records .*spans"),
        ([{"text": "a"}], "labels are records"),
        ([1, "1"], "differ in blanks or quotes only"),
        (["spam", "spam "], "'spam ' and 'spam' differ"),
    ],
)
def test_typed_labels_that_are_no_classes_are_refused(values: list[Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        labels_of(values, typed=True)


def test_ratings_as_words_and_half_stars_as_text_are_classes() -> None:
    assert labels_of(["stars 1", "stars 1.5"], typed=False) == ["stars 1", "stars 1.5"]
    assert labels_of(["1", "1.5"], typed=True) == ["1", "1.5"]
    assert labels_of([1, 2, 3, 4, 5], typed=True) == [1, 2, 3, 4, 5]


def test_splits_are_read_alike() -> None:
    """Of one split's numbers and another's words, all are words."""
    both = read_labels([column(["1", "2"], typed=False), column(["1", "x"], typed=False)], "label")
    assert both == [["1", "2"], ["1", "x"]]
    mixed = read_labels([column(["1", "2"], typed=False), column(["1", "x"], typed=True)], "label")
    assert mixed == [["1", "2"], ["1", "x"]]
    with pytest.raises(ValueError, match="one value written in several ways"):
        read_labels([column(["1.0"], typed=False), column(["1"], typed=False)], "label")


def test_many_whole_numbers_are_suspected_of_being_a_scale() -> None:
    said = suspected_scale(range(101))
    assert said is not None and "101 classes are whole numbers from 0 to 100" in said
    assert suspected_scale(range(5)) is None
    assert suspected_scale([*range(50), "x"]) is None
