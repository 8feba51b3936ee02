"""What an artifact's folder holds beside the model's files: configuration, tokenizer, manifest."""

from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from lmopt.config.base import Bits
from lmopt.data.batches import pad_id
from lmopt.models.loading import load_tokenizer
from lmopt.models.zeros import measured_sparsity
from lmopt.runtimes.manifest import Manifest, hash_files, transfer_bytes, write_manifest


def pack(
    model: PreTrainedModel,
    model_folder: Path,
    max_length: int,
    folder: Path,
    *,
    runtime: str,
    bits: Bits,
    precision: str | None,
    inputs: tuple[str, ...],
    files: tuple[str, ...],
) -> None:
    """Complete the artifact of `model` (saved in `model_folder`) whose `files` are in `folder`."""
    model.config.save_pretrained(folder)
    load_tokenizer(model_folder).save_pretrained(folder)
    size_bytes, digest = hash_files(folder, files)
    manifest = Manifest(
        runtime=runtime,
        bits=bits,
        precision=precision,
        inputs=inputs,
        max_length=max_length,
        pad_id=pad_id(model.config),
        label_names=tuple(model.config.id2label[i] for i in range(model.config.num_labels)),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        sparsity=measured_sparsity(model),
        macs=count_macs(model, max_length),
        files=files,
        size_bytes=size_bytes,
        transfer_bytes=sum(transfer_bytes(folder / name) for name in files),
        hash=digest,
    )
    write_manifest(folder, manifest)


@torch.no_grad()
def count_macs(model: PreTrainedModel, length: int) -> int:
    """Multiply-accumulates of all matrix products for one text of `length` tokens."""
    model.set_attn_implementation("eager")  # The counter does not see into the fused one.
    # DeBERTa hands a parameter to its layers; the counter fails at one that wants a gradient.
    model.requires_grad_(False)
    ids = torch.full((1, length), pad_id(model.config))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return int(counter.get_total_flops()) // 2  # A multiply and an add.
