"""Dropped layers: what is left is the model in which they return their input, and it reloads."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification

from lmopt.models.families.registry import encoder_layers
from lmopt.models.layers import drop_layers
from lmopt.models.loading import load_classifier
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


def test_a_model_without_a_stack_of_layers_is_refused() -> None:
    config = CONFIG_MAPPING["roformer"](**HEAD, **SHAPE)
    model = AutoModelForSequenceClassification.from_config(config)
    model.config.num_hidden_layers = 99
    with pytest.raises(ValueError, match="no stack of 99 encoder layers in this roformer model"):
        drop_layers(model, [0])
