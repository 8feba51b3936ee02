"""Dropped layers: what is left is the model in which they return their input, and it reloads."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification

from lmopt.models.families import registry
from lmopt.models.families.registry import encoder_layers
from lmopt.models.layers import drop_layers
from lmopt.models.loading import load_classifier
from lmopt.models.shape import only_ours, recorded_shape
from tests.lmopt.small_families import HEAD, OPTIONS, SHAPE, batch, logits, saved, tiny

STACKED = [name for name in OPTIONS if "albert" not in name]


class Identity(nn.Module):
    """A layer that returns its input."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer
        self.attention_type = getattr(layer, "attention_type", None)

    def forward(self, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        output = self.layer(hidden, *args, **kwargs)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


@pytest.mark.parametrize("family", STACKED)
def test_dropped_layers_act_as_identities_and_the_model_reloads(
    family: str, tmp_path: Path
) -> None:
    full = tiny(family)
    dropped = load_classifier(saved(full, tmp_path / "full"))
    drop_layers(dropped, [0, 2])
    reloaded = load_classifier(saved(dropped, tmp_path / "dropped")).eval()
    assert len(encoder_layers(reloaded)) == 2
    layers = encoder_layers(full)
    layers[1] = Identity(layers[1])
    torch.testing.assert_close(logits(reloaded), logits(full))


@pytest.mark.parametrize("kept", [[0], [2], [0, 1], [1, 2], [0, 2]])
@pytest.mark.parametrize("family", [name for name in OPTIONS if name != "albert of two groups"])
def test_a_student_of_some_layers_reloads_as_it_was(
    family: str, kept: list[int], tmp_path: Path
) -> None:
    """First, last and evenly spaced layers: the logits are equal to the last bit."""
    model = tiny(family)
    drop_layers(model, kept)
    expected = logits(model)
    folder = saved(model, tmp_path / "once")
    assert torch.equal(logits(load_classifier(folder).eval()), expected)
    again = load_classifier(folder).eval()
    drop_layers(again, [len(kept) - 1])
    expected = logits(again)
    folder = saved(again, tmp_path / "twice")
    assert torch.equal(logits(load_classifier(folder).eval()), expected)


@pytest.mark.parametrize("kept", [[0, 1], [1, 2]])
def test_only_a_first_layer_with_a_norm_is_recorded(kept: list[int], tmp_path: Path) -> None:
    """transformers itself loads a ModernBERT whose first layer has stayed."""
    model = tiny("modernbert")
    drop_layers(model, kept)
    assert recorded_shape(model.config) == ({} if kept[0] == 0 else {"first_norm": True})
    reason = only_ours(saved(model, tmp_path))
    assert reason is None if kept[0] == 0 else "a norm in the first layer" in (reason or "")


def test_albert_runs_its_one_layer_less_often(tmp_path: Path) -> None:
    """Two of three layers: what the full model's head says of its second hidden state."""
    full = tiny("albert")
    dropped = load_classifier(saved(full, tmp_path / "full"))
    drop_layers(dropped, [0, 1])
    reloaded = load_classifier(saved(dropped, tmp_path / "dropped")).eval()
    with torch.inference_mode():
        hidden = full(**batch(), output_hidden_states=True).hidden_states[2]
        albert = full.albert
        expected = full.classifier(albert.pooler_activation(albert.pooler(hidden[:, 0])))
    torch.testing.assert_close(logits(reloaded), expected)
    assert len(encoder_layers(reloaded)) == 1
    with pytest.raises(ValueError, match="cannot be dropped: its layers share 2 groups"):
        drop_layers(tiny("albert of two groups"), [0, 1])


def test_a_student_of_an_unknown_family_that_does_not_reload_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ModernBERT without its file: its first layer's norm would be left out in silence."""
    monkeypatch.delitem(registry._BY_TYPE, "modernbert")
    model = tiny("modernbert")
    drop_layers(model, [1, 2])
    with pytest.raises(ValueError, match=r"do not fit its 2 kept layers: .*attn_norm.*leave layer"):
        load_classifier(saved(model, tmp_path))


def test_layers_in_pieces_are_no_stack() -> None:
    """XLM keeps attentions, norms and FFNs of all layers in a list each."""
    config = CONFIG_MAPPING["xlm"](
        n_words=50, emb_dim=16, n_layers=3, n_heads=4, max_position_embeddings=40, pad_index=1
    )
    model = AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(ValueError, match="no stack of 3 encoder layers in this xlm model"):
        encoder_layers(model)


def test_a_model_without_a_stack_of_layers_is_refused() -> None:
    config = CONFIG_MAPPING["roformer"](**HEAD, **SHAPE)
    model = AutoModelForSequenceClassification.from_config(config)
    model.config.num_hidden_layers = 99
    with pytest.raises(ValueError, match="no stack of 99 encoder layers in this roformer model"):
        drop_layers(model, [0])
