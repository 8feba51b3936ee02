"""Choose the device and the precision of training."""

import torch

from lmopt.errors import UserError


def has_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bf16 natively. Emulation is slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def autocast(device: torch.device) -> torch.autocast:
    """Return a context that computes matrix products in bf16 if the device supports it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device))


def pick_device(device: str) -> torch.device:
    """Return the torch device of a setting; "auto" prefers the GPU.

    Raises:
        UserError: The setting is "cuda" and torch finds no GPU.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' asked for, but torch sees no GPU here: use 'auto' or 'cpu'")
    return torch.device(device)
