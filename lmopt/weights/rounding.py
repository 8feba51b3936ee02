"""The rounding of weights that are stored in few bits, in torch.

The formulas are NNCF's (nncf/quantization/algorithms/weight_compression/weight_lowering.py), and a
test compares the two. Training and artifact share this code, so they agree.
"""

from typing import Any, NamedTuple

import torch

EPSILON = torch.finfo(torch.float32).eps
# Dettmers et al. (2023), QLoRA, appendix E: quantiles of a normal distribution in [-1, 1].
NF4_LEVELS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip


class Format(NamedTuple):
    """A storage format: `bits` per weight, integers or NF4, `group` weights per scale.

    `group` -1 means one scale per row. 16 and 32 bits are floating point and have no scale.
    """

    bits: int
    number_format: str = "int"
    group: int = -1

    @property
    def bits_per_weight(self) -> float:
        """Return the stored bits per weight, with its share of a 16-bit scale and a zero point."""
        if self.bits >= 16 or self.group == -1:
            return float(self.bits)
        zero_point = self.bits if self.bits == 4 and self.number_format == "int" else 0
        return self.bits + (16 + zero_point) / self.group


class Quantized(NamedTuple):
    """Codes of a matrix (rows, width) in groups; value = (level of the code - zero) x scale.

    `codes` (rows, groups, group) count from 0. `zero` and `scale` are (rows, groups, 1), `scale` in
    half precision as stored. `levels` (2^bits,) is None if the codes are the levels.
    """

    codes: torch.Tensor
    zero: torch.Tensor | int
    scale: torch.Tensor
    levels: torch.Tensor | None = None

    def values(self) -> torch.Tensor:
        """Return the stored values (rows, groups, group)."""
        levels = self.codes if self.levels is None else self.levels[self.codes.long()]
        return (levels - self.zero) * self.scale.float()


def quantize(weight: torch.Tensor, stored: Format) -> Quantized:
    """Round a matrix (..., width) to fewer than 16 bits, as an artifact stores it.

    8 bits are asymmetric with a scale per row. 4 bits are asymmetric per group, or NF4. 3 and 2
    bits are symmetric per group. Their signed scale maps the largest magnitude to the lowest level.
    """
    width = weight.shape[-1] if stored.bits == 8 or stored.group == -1 else stored.group
    groups = weight.float().reshape(*weight.shape[:-1], -1, width)
    if stored.number_format == "nf4":
        return _nf4(groups)
    return _asymmetric(groups, stored.bits) if stored.bits >= 4 else _symmetric(groups, stored.bits)


def fake_quantize(weight: torch.Tensor, stored: Format) -> torch.Tensor:
    """Return the values that `weight` (..., width) has after it is stored and read back."""
    if stored.bits >= 16:
        return weight.half().to(weight.dtype) if stored.bits == 16 else weight
    return quantize(weight, stored).values().reshape(weight.shape).to(weight.dtype)


def _asymmetric(groups: torch.Tensor, bits: int) -> Quantized:
    low = groups.amin(dim=-1, keepdim=True).clamp(max=0)
    high = groups.amax(dim=-1, keepdim=True).clamp(min=0)
    levels = 2**bits - 1
    scale = _not_zero((high - low) / levels)
    zero = (-torch.round(low / scale)).clamp(0, levels)
    codes = torch.round(groups / scale + zero).clamp(0, levels)
    return Quantized(codes, zero, scale.half())


def _symmetric(groups: torch.Tensor, bits: int) -> Quantized:
    low = groups.amin(dim=-1, keepdim=True).abs()
    high = groups.amax(dim=-1, keepdim=True)
    lowest = 2 ** (bits - 1)
    scale = _not_zero(torch.where(low >= high, low, -high) / lowest)
    codes = torch.round(groups / scale).clamp(-lowest, lowest - 1) + lowest
    return Quantized(codes, lowest, scale.half())


def _nf4(groups: torch.Tensor) -> Quantized:
    scale = _not_zero(groups.abs().amax(dim=-1, keepdim=True))
    levels = torch.tensor(NF4_LEVELS, device=groups.device)
    codes = torch.bucketize(groups / scale, (levels[1:] + levels[:-1]) / 2)
    return Quantized(codes, 0, scale.half(), levels.half().float())


def _not_zero(scale: torch.Tensor) -> torch.Tensor:
    return torch.where(scale.abs() < EPSILON, EPSILON, scale)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, weight: torch.Tensor, stored: Format) -> torch.Tensor:
        return fake_quantize(weight, stored)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> Any:
        return gradient, None


def straight_through(weight: torch.Tensor, stored: Format) -> torch.Tensor:
    """Return `fake_quantize` of the weight, with the identity as gradient.

    Source: Bengio, Léonard, Courville (2013), Estimating or Propagating Gradients Through
    Stochastic Neurons, section 3.3.
    """
    result: torch.Tensor = _StraightThrough.apply(weight, stored)  # type: ignore[no-untyped-call]
    return result
