from pathlib import Path

import pytest
from torch import nn

from lmopt.models.loading import load_classifier
from lmopt.weights.plan import Codebook, group_size, plan_storage, planned_bytes
from lmopt.weights.rounding import Format


def test_group_sizes_divide_every_width() -> None:
    expected = {384: 64, 1536: 64, 312: 52, 600: 60, 24: 24, 601: -1, 7: -1, 46: 46}
    assert {width: group_size(width) for width in expected} == expected


def test_embeddings_have_their_own_width_and_short_rows_stay_at_16_bits() -> None:
    model = nn.ModuleDict(
        {"table": nn.Embedding(9, 64), "scores": nn.Embedding(9, 1), "head": nn.Linear(64, 3)}
    )
    plan = plan_storage(model, bits=4, number_format="nf4", embedding_bits=2)
    assert plan == {
        "table.weight": Format(2, "int", 64),
        "scores.weight": Format(16),
        "head.weight": Format(4, "nf4", 64),
    }
    assert set(plan_storage(model, bits=32).values()) == {Format(32)}
    clustered = plan_storage(model, bits=32, clusters=16, embedding_clusters=4)
    assert clustered["table.weight"] == Codebook(4)
    assert clustered["head.weight"] == Codebook(16)


@pytest.mark.parametrize(
    ("clusters", "bits"),
    [(2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4), (16, 4), (17, 6), (64, 6), (65, 8), (256, 8)],
)
def test_a_codebook_takes_the_narrowest_index_there_is(clusters: int, bits: int) -> None:
    """Indices of 1, 2, 3, 4, 6 and 8 bits can be stored."""
    assert Codebook(clusters).bits_per_weight == bits


def test_bytes_by_arithmetic(classifier_folder: Path) -> None:
    model = load_classifier(classifier_folder)
    matrices = sum(p.numel() for p in model.parameters() if p.dim() == 2)
    vectors = sum(p.numel() for p in model.parameters() if p.dim() == 1)
    assert planned_bytes(model, plan_storage(model, bits=32)) == 4 * (matrices + vectors)
    two = planned_bytes(model, plan_storage(model, bits=2))
    assert two == pytest.approx(matrices * (2 + 16 / 64) / 8 + 4 * vectors, rel=0.01)
