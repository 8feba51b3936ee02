from pathlib import Path

from lmopt.models.loading import load_classifier
from lmopt.runtimes.packing import count_macs


def test_multiply_accumulates_are_those_of_the_matrix_products(classifier_folder: Path) -> None:
    """Hidden 64, 4 layers, 4 heads, FFN 128, 3 classes: four projections, FFN, two products."""
    length, hidden, ffn, layers = 10, 64, 128, 4
    layer = length * (4 * hidden**2 + 2 * hidden * ffn) + 2 * length**2 * hidden
    expected = layers * layer + hidden**2 + 3 * hidden  # Pooler and head see one token.
    assert count_macs(load_classifier(classifier_folder).eval(), length) == expected
