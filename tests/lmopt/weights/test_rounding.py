"""Rounding in training and in the artifact are one and the same."""

import logging
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
import pytest
import torch
from torch import nn

from lmopt.runtimes.openvino.weights import store
from lmopt.weights.rounding import Format, fake_quantize, straight_through

FORMATS = [
    Format(16),
    Format(8),
    Format(4, "int", 52),
    Format(4, "nf4", 52),
    Format(4, "int", -1),
    Format(3, "int", 52),
    Format(2, "int", 52),
]


class Both(nn.Module):
    """An embedding and a linear layer at rubert-tiny2's width, some of their rows zero."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.table = nn.Embedding(300, 312)
        self.model.linear = nn.Linear(312, 96)
        with torch.no_grad():
            self.model.table.weight[3] = 0
            self.model.linear.weight[0] = 0
            self.model.linear.weight[1].abs_()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.model.linear(self.model.table(ids))
        return output


@pytest.mark.parametrize("stored", FORMATS, ids=str)
def test_training_sees_what_the_artifact_computes(stored: Format, tmp_path: Path) -> None:
    nncf.set_log_level(logging.ERROR)
    torch.manual_seed(0)
    both = Both().eval()
    ids = torch.arange(300).reshape(1, -1)
    converted = ov.convert_model(both, example_input=ids)
    plan = {"table.weight": stored, "linear.weight": stored}
    store(converted, plan)
    ov.save_model(converted, tmp_path / "model.xml", compress_to_fp16=False)
    options = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    got = ov.Core().compile_model(tmp_path / "model.xml", "CPU", options)([ids.numpy()])[0]
    with torch.inference_mode():
        exact = both(ids).numpy()
        for module in (both.model.table, both.model.linear):
            module.weight = nn.Parameter(fake_quantize(module.weight, stored))
        expected = both(ids).numpy()
    # Products of levels and scales are rounded to half precision; integers are exact in it.
    assert np.abs(got - expected).max() <= 3e-3
    assert np.abs(got - exact).max() > 20 * np.abs(got - expected).max()


@pytest.mark.parametrize("stored", FORMATS[1:], ids=str)
def test_rounding_again_changes_nothing(stored: Format) -> None:
    torch.manual_seed(1)
    once = fake_quantize(torch.randn(20, 312), stored)
    torch.testing.assert_close(fake_quantize(once, stored), once, atol=2e-3, rtol=0)


def test_few_levels_are_left() -> None:
    torch.manual_seed(2)
    weight = torch.randn(1, 64)
    for bits in (4, 3, 2):
        assert len(fake_quantize(weight, Format(bits, "int", 64)).unique()) <= 2**bits
    assert len(fake_quantize(weight, Format(4, "nf4", 64)).unique()) <= 16


def test_the_gradient_passes_straight_through() -> None:
    weight = torch.randn(4, 64, requires_grad=True)
    direction = torch.randn(4, 64)
    (straight_through(weight, Format(2, "int", 64)) * direction).sum().backward()
    torch.testing.assert_close(weight.grad, direction)


@pytest.mark.parametrize(
    ("stored", "mode"),
    [
        (Format(8), "INT8_ASYM"),
        (Format(4, "int", 52), "INT4_ASYM"),
        (Format(4, "nf4", 52), "NF4"),
        (Format(3, "int", 52), "INT3_SYM"),
        (Format(2, "int", 52), "INT2_SYM"),
    ],
)
def test_the_formulas_are_nncf_s(stored: Format, mode: str) -> None:
    """NNCF's own compression of the same weights, seen through the identity."""
    torch.manual_seed(3)
    layer = nn.Linear(312, 64, bias=False)
    converted = ov.convert_model(layer, example_input=torch.eye(312))
    options = {} if stored.bits == 8 else {"group_size": 52, "ratio": 1.0, "all_layers": True}
    nncf.set_log_level(logging.ERROR)
    compressed = nncf.compress_weights(
        converted, mode=getattr(nncf.CompressWeightsMode, mode), **options
    )
    precise = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    theirs = ov.Core().compile_model(compressed, "CPU", precise)(np.eye(312, dtype=np.float32))[0].T
    ours = fake_quantize(layer.weight.detach(), stored).numpy()
    assert np.abs(ours - theirs).max() <= (1e-4 if stored.number_format == "nf4" else 1e-7)
