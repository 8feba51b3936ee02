from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from lmopt.models.families.base import keep_units
from lmopt.models.families.registry import find_units
from lmopt.models.layers import drop_layers
from lmopt.models.loading import load_classifier
from lmopt.models.shape import record_shape, record_units, recorded_shape, reshape
from tests.lmopt.small_families import logits, saved, tiny


def narrowed(family: str, ffn: list[int], heads: list[int]) -> Any:
    """A tiny model with so many neurons and heads a layer, and its shape recorded."""
    model = tiny(family)
    for units, count in zip(find_units(model, "ffn"), ffn, strict=True):
        keep_units(units, torch.arange(count))
    for units, count in zip(find_units(model, "heads"), heads, strict=True):
        keep_units(units, torch.arange(count))
    record_units(model, "ffn")
    record_units(model, "heads")
    return model


@pytest.mark.parametrize("family", ["bert", "distilbert", "albert", "deberta-v2"])
def test_equal_widths_load_without_lmopt(family: str, tmp_path: Path) -> None:
    layers = len(find_units(tiny(family), "ffn"))
    model = narrowed(family, [8] * layers, [4] * layers)
    assert recorded_shape(model.config) == {}
    folder = saved(model, tmp_path)
    assert "lmopt" not in (folder / "config.json").read_text()
    plain = AutoModelForSequenceClassification.from_pretrained(folder)
    torch.testing.assert_close(logits(plain), logits(model))


def test_only_what_transformers_cannot_say_is_recorded() -> None:
    assert recorded_shape(narrowed("bert", [8, 8, 8], [4, 2, 1]).config) == {"heads": [4, 2, 1]}
    assert recorded_shape(narrowed("bert", [8, 9, 8], [4, 4, 4]).config) == {"ffn": [8, 9, 8]}
    model = narrowed("bert", [8, 9, 10], [4, 4, 4])
    for units in find_units(model, "ffn"):
        keep_units(units, torch.arange(5))
    record_units(model, "ffn")
    assert recorded_shape(model.config) == {}
    assert model.config.intermediate_size == 5


def test_entries_are_kept_apart() -> None:
    config = narrowed("bert", [8, 9, 8], [4, 2, 1]).config
    record_shape(config, other=7)
    assert recorded_shape(config) == {"ffn": [8, 9, 8], "heads": [4, 2, 1], "other": 7}
    record_shape(config, ffn=None, heads=None, other=None)
    assert not hasattr(config, "lmopt_shape")


def test_dropped_layers_take_their_entries_with_them(tmp_path: Path) -> None:
    model = narrowed("roberta", [8, 9, 10], [3, 2, 1])
    drop_layers(model, [0, 2])
    assert recorded_shape(model.config) == {"ffn": [8, 10], "heads": [3, 1]}
    reloaded = load_classifier(saved(model, tmp_path))
    torch.testing.assert_close(logits(reloaded), logits(model))


def test_a_reshaped_checkpoint_gets_a_new_head(tmp_path: Path) -> None:
    folder = saved(narrowed("bert", [8, 9, 10], [3, 2, 1]), tmp_path)
    model = load_classifier(folder, ["a", "b", "c", "d", "e"])
    assert model.config.num_labels == 5
    assert [units.count for units in find_units(model, "heads")] == [3, 2, 1]
    before, after = (m.state_dict() for m in (load_classifier(folder), model))
    assert all(torch.equal(before[n], after[n]) for n in before if "classifier" not in n)


def test_weights_must_fit_the_shape(tmp_path: Path) -> None:
    folder = saved(narrowed("bert", [8, 9, 10], [3, 2, 1]), tmp_path)
    weights = load_file(folder / "model.safetensors")
    gone = weights.pop("bert.encoder.layer.1.output.dense.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"do not fit its shape .*layer\.1\.output\.dense\.weight"):
        load_classifier(folder)
    weights["bert.encoder.layer.1.output.dense.weight"] = gone[:, :8].contiguous()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="can be loaded from"):
        load_classifier(folder)


def test_a_shape_of_a_newer_version_is_refused() -> None:
    with pytest.raises(ValueError, match="'rank' that this version of lmopt cannot read"):
        reshape(tiny("bert"), {"rank": 3})
