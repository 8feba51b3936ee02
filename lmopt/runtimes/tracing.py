"""The classifier as a traceable function of its two inputs."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

INPUTS = ("input_ids", "attention_mask")


class Logits(nn.Module):
    """The classifier as a function of its two inputs that returns the logits alone."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits
