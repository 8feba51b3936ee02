"""Batches of the training split on which weights, units and activations are judged."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from lmopt.data.batches import Collator, ExampleDataset, Examples, pad_id, subset
from lmopt.data.tokens import Batch, load_tokens, pad
from lmopt.models.loading import load_config
from lmopt.stages.cache import Stage
from lmopt.training.trainer import TrainingSettings

CALIBRATION_EXAMPLES = 1024
CALIBRATION_TEXTS = 128


def calibration_batches(
    model: PreTrainedModel, examples: Examples, settings: TrainingSettings
) -> Iterator[dict[str, torch.Tensor]]:
    """Padded batches of at most 1,024 of the examples that training would use.

    On the model's device; the same ones for the same settings. Keys: input_ids, attention_mask
    (batch, length), labels (batch,), and teacher_logits (batch, classes) where there are any.
    """
    count = len(examples.labels)
    limit = min(settings.train_examples or count, CALIBRATION_EXAMPLES)
    dataset = ExampleDataset(examples, subset(count, limit, settings.seed))
    collate = Collator(pad_id(model.config))
    for start in range(0, len(dataset), settings.batch_size):
        stop = min(start + settings.batch_size, len(dataset))
        batch = collate([dataset[i] for i in range(start, stop)])
        yield {name: tensor.to(model.device) for name, tensor in batch.items()}


def calibration_texts(tokens: Stage, model: Path) -> list[Batch]:
    """Training texts, one a batch, that show the ranges of a model's activations."""
    texts = load_tokens(tokens.path / "tokens.npz")["train"]
    chosen = np.random.default_rng(0).choice(len(texts), min(CALIBRATION_TEXTS, len(texts)), False)
    pad_id = load_config(model).pad_token_id or 0
    return [pad([texts[i]], pad_id) for i in chosen]
