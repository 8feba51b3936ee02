"""Calibration batches of the training split: they score weights, units and activations."""

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
    """Yield padded batches of at most 1,024 of the examples that training would use.

    The batches are on the model's device. Equal settings give equal batches.

    Yields:
        A batch with the keys input_ids and attention_mask (batch, length), labels (batch,), and
        teacher_logits (batch, classes) if the examples have them.
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
    """Return batches of one training text each, which show the ranges of the activations."""
    texts = load_tokens(tokens.path / "tokens.npz")["train"]
    chosen = np.random.default_rng(0).choice(len(texts), min(CALIBRATION_TEXTS, len(texts)), False)
    pad_id = load_config(model).pad_token_id or 0
    return [pad([texts[i]], pad_id) for i in chosen]
