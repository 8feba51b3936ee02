import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification

from lmopt.models.families.base import KINDS, Kind, keep_units
from lmopt.models.families.registry import find_units
from lmopt.models.loading import load_classifier
from lmopt.models.shape import record_units
from lmopt.runtimes.openvino.artifact import convert
from tests.lmopt.small_families import CUTTABLE, HEAD, SHAPE, batch, logits, saved, tiny


def some(count: int, seed: int) -> torch.Tensor:
    """Some of the units, not the first ones, a different number in each layer."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[: 1 + (count // 2 + seed) % (count - 1)].sort().values


def zeroed_and_removed(dense: Any, kinds: tuple[Kind, ...]) -> tuple[Any, Any]:
    """The dense model with zeros for the outputs of some units, and the model without them."""
    zeros, small = copy.deepcopy(dense), copy.deepcopy(dense)
    for kind in kinds:
        pairs = zip(find_units(zeros, kind), find_units(small, kind), strict=True)
        for layer, (dense_units, small_units) in enumerate(pairs):
            kept = some(dense_units.count, layer)
            columns = torch.zeros(dense_units.count, dense_units.width)
            columns[kept] = 1
            dense_units.output.weight.data *= columns.flatten()
            keep_units(small_units, kept)
        record_units(small, kind)
    return zeros, small


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", CUTTABLE)
def test_removed_units_are_zeros_and_the_model_reloads(
    family: str, attention: str, tmp_path: Path
) -> None:
    dense = tiny(family)
    zeros, small = zeroed_and_removed(dense, KINDS)
    reloaded = load_classifier(saved(small, tmp_path))
    for model in (zeros, small, reloaded):
        if attention == "sdpa" and not model._supports_sdpa:  # DeBERTa and MPNet know one way only.
            model.set_attn_implementation("eager")
        else:
            model.set_attn_implementation(attention)
    expected = logits(zeros)
    torch.testing.assert_close(logits(small), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(logits(reloaded), expected, rtol=0, atol=1e-6)
    assert (logits(dense) - expected).abs().max() > 0.01  # What was removed did matter.
    assert type(reloaded) is type(dense)
    assert sum(p.numel() for p in reloaded.parameters()) < sum(
        p.numel() for p in dense.parameters()
    )


@pytest.mark.parametrize("family", ["bert", "distilbert", "albert", "mpnet"])
def test_the_artifact_is_the_small_model(family: str, tmp_path: Path) -> None:
    import openvino as ov

    _, small = zeroed_and_removed(tiny(family), KINDS)
    expected = logits(small)
    converted = convert(load_classifier(saved(small, tmp_path)))
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(converted, "CPU", options)
    found = compiled({name: tensor.numpy() for name, tensor in batch().items()})[0]
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", CUTTABLE)
def test_every_matrix_between_the_widths_shrinks(family: str) -> None:
    """No matrix of a layer keeps rows or columns of a unit that is gone."""
    dense = tiny(family)
    sizes = {name: p.numel() for name, p in dense.named_parameters()}
    for kind in KINDS:
        for units in find_units(dense, kind):
            keep_units(units, torch.arange(units.count // 2))
    hidden = dense.config.hidden_size
    for name, parameter in dense.named_parameters():
        if re.search(r"layers?\.\d", name) and parameter.shape != (hidden,):
            assert parameter.numel() * 2 == sizes[name], name
    for module in dense.modules():
        if isinstance(module, torch.nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)


def test_layers_that_share_their_weights_are_one() -> None:
    assert len(find_units(tiny("albert"), "ffn")) == 1
    assert len(find_units(tiny("albert of two groups"), "heads")) == 2
    assert len(find_units(tiny("bert"), "heads")) == 3


def test_a_model_can_be_narrowed_twice(tmp_path: Path) -> None:
    """MPNet's position bias goes by the numbers that heads had at first."""
    dense = tiny("mpnet")
    once = copy.deepcopy(dense)
    for units in find_units(once, "heads"):
        keep_units(units, torch.tensor([1, 2, 3]))
    record_units(once, "heads")
    twice = load_classifier(saved(once, tmp_path / "once"))
    for units in find_units(dense, "heads"):
        keep_units(units, torch.tensor([1, 3]))
    for units in find_units(twice, "heads"):
        keep_units(units, torch.tensor([0, 2]))
    record_units(twice, "heads")
    torch.testing.assert_close(logits(twice), logits(dense))
    torch.testing.assert_close(
        logits(load_classifier(saved(twice, tmp_path / "twice"))), logits(dense)
    )


@pytest.mark.parametrize(("kind", "field"), [("ffn", "ffn_keep"), ("heads", "heads_keep")])
@pytest.mark.parametrize("model_type", ["modernbert", "roformer"])
def test_a_family_whose_units_cannot_be_cut_is_named(
    model_type: str, kind: Kind, field: str
) -> None:
    config = CONFIG_MAPPING[model_type](**HEAD, **SHAPE)
    model = AutoModelForSequenceClassification.from_config(config)
    said = rf"can be removed from this {model_type} model: .*; leave {field} out$"
    with pytest.raises(ValueError, match=said) as error:
        find_units(model, kind)
    assert "\n" not in str(error.value)


def test_heads_that_are_mixed_stay() -> None:
    mixed = tiny("deberta", talking_head=True, **HEAD)
    with pytest.raises(ValueError, match="talking_head"):
        find_units(mixed, "heads")
    assert len(find_units(mixed, "ffn")) == 3
