from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from lmopt.compression.unit_importance import Gates, magnitudes
from lmopt.models.families.base import Kind, Units
from lmopt.models.families.registry import find_units
from tests.lmopt.small_families import batch, tiny

LABELS = torch.tensor([0, 1, 2])


def losses(model: Any) -> torch.Tensor:
    """Loss of each of the three examples."""
    return cross_entropy(model(**batch()).logits, LABELS, reduction="none")


def scores(model: Any, kind: Kind) -> list[torch.Tensor]:
    """Scores of every layer's units over the three examples; the model is as before."""
    gates = Gates(find_units(model, kind))
    losses(model).mean().backward()
    gates.collect()
    collected = [units.output.get_buffer("unit_score").clone() for units in gates.units]
    gates.remove()
    return collected


def shrunk(model: Any, units: Units, unit: int, factor: float) -> torch.Tensor:
    """Losses of the examples when one unit's output is `factor` times itself."""
    columns = slice(unit * units.width, (unit + 1) * units.width)
    before = units.output.weight[:, columns].clone()
    with torch.no_grad():
        units.output.weight[:, columns] *= factor
        result = losses(model)
        units.output.weight[:, columns] = before
    return result


@pytest.mark.parametrize("kind", ["ffn", "heads"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "albert", "mpnet", "deberta-v2"])
def test_the_score_is_what_finite_differences_say(family: str, kind: Kind) -> None:
    """Sum over examples of |loss(1 + e) - loss(1 - e)| / 2e of the unit's factor.

    ALBERT's layers share their weights: there a unit changes everywhere at once.
    """
    model = tiny(family).double()
    for units, score in zip(find_units(model, kind), scores(model, kind), strict=True):
        for unit in range(units.count):
            up, down = (shrunk(model, units, unit, factor) for factor in (1 + 1e-4, 1 - 1e-4))
            expected = ((up - down) / 2e-4).abs().sum()
            assert float(score[unit]) == pytest.approx(float(expected), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("kind", ["ffn", "heads"])
def test_the_score_ranks_units_as_removing_each_does(kind: Kind) -> None:
    """Rank correlation with the change of the loss, over all layers; magnitude's is lower."""
    model = tiny("bert")
    layers = find_units(model, kind)
    with torch.no_grad():
        whole = losses(model)
    removed = [
        float((shrunk(model, units, unit, 0.0) - whole).abs().sum())
        for units in layers
        for unit in range(units.count)
    ]
    taylor = rank_correlation(torch.cat(scores(model, kind)), removed)
    magnitude = rank_correlation(torch.cat([magnitudes(units) for units in layers]), removed)
    assert taylor > 0.7
    assert taylor > magnitude


def rank_correlation(scores: torch.Tensor, removed: list[float]) -> float:
    """Spearman's."""
    ranks = [np.argsort(np.argsort(values)) for values in (scores.detach().numpy(), removed)]
    return float(np.corrcoef(*ranks)[0, 1])


def test_the_score_is_a_sum_over_examples_whatever_the_batch() -> None:
    """Twice the same texts in one batch is twice the score, as in two batches."""
    model = tiny("bert")
    (single, *_), gates = scores(model, "ffn"), Gates(find_units(model, "ffn"))
    twice = {name: tensor.repeat(2, 1) for name, tensor in batch().items()}
    cross_entropy(model(**twice).logits, LABELS.repeat(2)).backward()
    gates.collect()
    torch.testing.assert_close(gates.units[0].output.unit_score, 2 * single)


def test_masked_units_are_zeros_and_gates_leave_no_trace() -> None:
    model = tiny("roberta")
    names = set(model.state_dict())
    units = find_units(model, "heads")
    with torch.no_grad():
        before = losses(model)
        gates = Gates(units)
        torch.testing.assert_close(losses(model), before, rtol=0, atol=1e-6)
        units[1].output.get_buffer("unit_mask")[2] = 0
        masked = losses(model)
    kept = gates.remove()
    assert [k.tolist() for k in kept] == [[0, 1, 2, 3], [0, 1, 3], [0, 1, 2, 3]]
    torch.testing.assert_close(masked, shrunk(model, units[1], 2, 0.0))
    assert set(model.state_dict()) == names
    torch.testing.assert_close(losses(model).detach(), before)


def test_a_magnitude_is_the_norm_of_all_the_unit_owns() -> None:
    model = tiny("bert")
    layer = model.bert.encoder.layer[1]
    attention, hidden = layer.attention, slice(4, 8)  # Head 1 of width 4.
    parts = [getattr(attention.self, n).weight[hidden] for n in ("query", "key", "value")]
    parts.append(attention.output.dense.weight[:, hidden].T)
    expected = float(torch.cat([part.flatten() for part in parts]).detach().norm())
    assert float(magnitudes(find_units(model, "heads")[1])[1]) == pytest.approx(expected)
    neuron = torch.cat([layer.intermediate.dense.weight[5], layer.output.dense.weight[:, 5]])
    found = float(magnitudes(find_units(model, "ffn")[1])[5])
    assert found == pytest.approx(float(neuron.detach().norm()))
