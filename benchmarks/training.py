"""Compare `lmopt.training.trainer` with a bare PyTorch loop that trains the same weights.

The model has the shape of the demo's students. Both sides read the same examples in the same
batches. Their times are comparable, because the final weights are equal to the last bit.
"""

import copy
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    get_linear_schedule_with_warmup,
)

from benchmarks.ratio import Ratio, in_turn
from lmopt.data.batches import Collator, ExampleDataset, Examples, LengthSampler, pad_id
from lmopt.data.tokens import Tokens
from lmopt.training.device import autocast
from lmopt.training.losses import distillation_loss
from lmopt.training.trainer import TrainingSettings, train_classifier

CLASSES = 5
WARMUP = 0.06  # The share of the steps, as in lmopt.training.
CLIP = 1.0  # The default of transformers.
LOSS = distillation_loss(temperature=2.0, alpha=0.5)


class Shape(NamedTuple):
    """The shape of the model and the amount of training data."""

    hidden: int = 384
    heads: int = 12
    ffn: int = 1536
    layers: int = 2
    vocabulary: int = 30_522
    longest: int = 64
    batch_size: int = 32
    steps: int = 40


def training_ratio(shape: Shape, rounds: int) -> Ratio:
    """Return the processor time of `train_classifier`, with set-up, over that of the bare loop."""
    model, examples = make_model(shape), make_examples(shape)

    def timed(train: object) -> float:
        fresh = copy.deepcopy(model)
        start = time.process_time()
        train(fresh, examples, shape)  # type: ignore[operator]
        return time.process_time() - start

    return in_turn(lambda: timed(with_lmopt), lambda: timed(with_bare_loop), rounds)


def make_model(shape: Shape) -> PreTrainedModel:
    """Return a classifier with random weights and without dropout."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.ffn,
        max_position_embeddings=shape.longest,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=CLASSES,
        attn_implementation="eager",
    )
    return BertForSequenceClassification(config)


def make_examples(shape: Shape) -> Examples:
    """Return random texts of the demo's lengths (mean 40 of 64 tokens) with a teacher's logits."""
    rng = np.random.default_rng(0)
    count = shape.steps * shape.batch_size
    lengths = rng.normal(40, 12, count).round().clip(4, shape.longest).astype(np.int64)
    ids = rng.integers(1, shape.vocabulary, lengths.sum()).astype(np.int32)
    tokens = Tokens(ids, np.concatenate([[0], lengths.cumsum()]))
    logits = rng.normal(size=(count, CLASSES)).astype(np.float32)
    return Examples(tokens, rng.integers(0, CLASSES, count), logits)


def settings(shape: Shape) -> TrainingSettings:
    """Return the settings of one epoch on the processor."""
    return TrainingSettings(
        epochs=1, learning_rate=1e-4, batch_size=shape.batch_size, device="cpu", dropout=0.0
    )


def with_lmopt(model: PreTrainedModel, examples: Examples, shape: Shape) -> None:
    """Train with lmopt, as a trial does."""
    with tempfile.TemporaryDirectory() as scratch:
        train_classifier(
            model, examples, LOSS, settings(shape), scratch=Path(scratch), stage="distill"
        )


def with_bare_loop(model: PreTrainedModel, examples: Examples, shape: Shape) -> None:
    """Train with a loop written by hand."""
    wanted = settings(shape)
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=wanted.learning_rate, weight_decay=0.0, fused=True
    )
    steps = math.ceil(len(examples.labels) / shape.batch_size)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(WARMUP * steps), steps)
    for batch in _batches(model, examples, shape):
        labels, teacher_logits = batch.pop("labels"), batch.pop("teacher_logits")
        with autocast(torch.device("cpu")):
            logits = model(**batch).logits
        LOSS(logits.float(), labels, teacher_logits).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()


def _batches(
    model: PreTrainedModel, examples: Examples, shape: Shape
) -> Iterator[dict[str, torch.Tensor]]:
    dataset = ExampleDataset(examples, np.arange(len(examples.labels)))
    order = list(LengthSampler(dataset.lengths, shape.batch_size, seed=0))
    collate = Collator(pad_id(model.config))
    for start in range(0, len(order), shape.batch_size):
        yield collate([dataset[i] for i in order[start : start + shape.batch_size]])
