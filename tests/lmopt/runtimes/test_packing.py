from pathlib import Path

import pytest

from lmopt.models.loading import load_classifier
from lmopt.runtimes.packing import count_macs
from tests.lmopt.small_families import OPTIONS, tiny


def test_multiply_accumulates_are_those_of_the_matrix_products(classifier_folder: Path) -> None:
    """Hidden 64, 4 layers, 4 heads, FFN 128, 3 classes: four projections, FFN, two products."""
    length, hidden, ffn, layers = 10, 64, 128, 4
    layer = length * (4 * hidden**2 + 2 * hidden * ffn) + 2 * length**2 * hidden
    expected = layers * layer + hidden**2 + 3 * hidden  # Pooler and head see one token.
    assert count_macs(load_classifier(classifier_folder).eval(), length) == expected


@pytest.mark.parametrize("family", OPTIONS)
def test_multiply_accumulates_of_every_family_are_counted(family: str) -> None:
    """At least four projections and a feed-forward network of three layers, for each token."""
    length, hidden, ffn, layers = 10, 16, 24, 3
    least = layers * length * (4 * hidden**2 + 2 * hidden * ffn)
    assert least < count_macs(tiny(family), length) < 4 * least
