"""Batches of the training split on which weights and units are judged."""

from collections.abc import Iterator

import torch
from transformers import PreTrainedModel

from lmopt.examples import Collator, ExampleDataset, Examples, pad_id, subset
from lmopt.training import TrainingSettings

CALIBRATION_EXAMPLES = 1024


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
