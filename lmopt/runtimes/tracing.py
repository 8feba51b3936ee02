"""The model as a traceable function of its two inputs."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from lmopt.runtimes.base import INPUTS


class Logits(nn.Module):
    """A model as a function of its two inputs that returns one output of its task alone."""

    def __init__(self, model: PreTrainedModel, output: str = "logits") -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return getattr(self.model(input_ids=input_ids, attention_mask=attention_mask), self.output)


def example_inputs() -> dict[str, torch.Tensor]:
    """Ids and mask of two texts of eight tokens, one of them padded: what a model is traced on."""
    example = {name: torch.ones(2, 8, dtype=torch.int64) for name in INPUTS}
    example["attention_mask"][1, 4:] = 0
    return example


def forget_traced_classes() -> None:
    """Let go of what was traced: its classes keep the weights alive, 60 MB a trial."""
    torch.jit._state._clear_class_state()  # type: ignore[no-untyped-call]
    torch._C._jit_clear_class_registry()
