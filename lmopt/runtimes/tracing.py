"""The model as a traceable function of its two inputs."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

INPUTS = ("input_ids", "attention_mask")


class Logits(nn.Module):
    """A model as a function of its two inputs that returns one output of its task alone."""

    def __init__(self, model: PreTrainedModel, output: str = "logits") -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return getattr(self.model(input_ids=input_ids, attention_mask=attention_mask), self.output)
