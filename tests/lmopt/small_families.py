"""Tiny random classifiers of every family in the registry: three layers, four heads, FFN 24."""

from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification

from lmopt.models.families.base import KINDS
from lmopt.models.families.registry import FAMILIES

HEAD = {"vocab_size": 50, "num_labels": 3, "max_position_embeddings": 40, "pad_token_id": 1}
SHAPE = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
}
DISENTANGLED = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8}
TYPES = ["full_attention", "sliding_attention", "sliding_attention"]
# What differs from SHAPE, by model_type; a word behind it names a variant.
OWN: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 16, "n_layers": 3, "n_heads": 4, "hidden_dim": 24},
    "albert": SHAPE | {"embedding_size": 8},
    "albert of two groups": SHAPE | {"embedding_size": 8, "num_hidden_groups": 2},
    "deberta": SHAPE | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": SHAPE | DISENTANGLED | {"share_att_key": False},
    "deberta-v2 as v3": SHAPE | DISENTANGLED | {"share_att_key": True},
    # Windows of four tokens to each side: the two kinds of its layers differ.
    "modernbert": SHAPE | {"local_attention": 8, "layer_types": TYPES},
    "modernbert of means": SHAPE | {"classifier_pooling": "mean"},
}
OPTIONS: dict[str, dict[str, Any]] = {
    model_type: SHAPE for family in FAMILIES for model_type in family.model_types
} | OWN
CUTTABLE = [
    name
    for name in OPTIONS
    for family in FAMILIES
    if name.split()[0] in family.model_types
    and not any(family.no_units(OPTIONS[name], kind) for kind in KINDS)
]


def tiny(name: str, **changes: Any) -> Any:
    """A random classifier; large weights, so that every unit matters."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[name.split()[0]](**HEAD | OPTIONS[name] | changes)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def batch() -> dict[str, torch.Tensor]:
    """Three texts of twelve tokens, the second one padded from its eighth."""
    ids = torch.randint(2, 50, (3, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    return {"input_ids": ids.where(mask > 0, 1), "attention_mask": mask}


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    """(3, 3)."""
    result: torch.Tensor = model(**batch()).logits
    return result


def saved(model: Any, folder: Path) -> Path:
    """The folder, with the model in it."""
    model.save_pretrained(folder)
    return folder
