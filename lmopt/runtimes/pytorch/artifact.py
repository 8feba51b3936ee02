"""Make a torch artifact: what transformers loads, in fp32 or, at `bits` 16, in bf16."""

from pathlib import Path

import torch

from lmopt.config.base import Bits
from lmopt.models.loading import load_classifier
from lmopt.runtimes.base import INPUTS
from lmopt.runtimes.packing import pack

MODEL_FILES = ("config.json", "model.safetensors")  # The configuration is the model's graph here.


def build_artifact(model_folder: Path, max_length: int, folder: Path, *, bits: Bits) -> None:
    """Write the torch artifact of a saved classifier into `folder`."""
    model = load_classifier(model_folder)
    if bits == 16:
        model.to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="1TB")
    pack(
        model,
        model_folder,
        max_length,
        folder,
        runtime="torch",
        bits=bits,
        precision="f32" if bits == 32 else None,
        inputs=INPUTS,
        files=MODEL_FILES,
    )
