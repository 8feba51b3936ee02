"""A student without layers: one vector per token, pooled by learned weights, and a small head.

Source: Minish Lab (2024), Model2Vec: static embeddings made from a sentence transformer; here the
pooling weights are learned with the rest, by distillation.
"""

from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

BATCH_SIZE = 512


class StaticConfig(PretrainedConfig):  # type: ignore[misc]
    """Shape of a static classifier; `width` per token vector, `hidden` units in the head."""

    model_type = "lmopt_static"

    def __init__(
        self, vocab_size: int = 1, width: int = 256, hidden: int = 256, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.vocab_size, self.width, self.hidden = vocab_size, width, hidden


class StaticClassifier(PreTrainedModel):  # type: ignore[misc]
    """Logits from the weighted mean of a text's token vectors; order does not count."""

    config_class = StaticConfig
    base_model_prefix = ""

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.width)
        self.scores = nn.Embedding(config.vocab_size, 1)
        self.dense = nn.Linear(config.width, config.hidden)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(config.hidden, config.num_labels)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings

    def set_attn_implementation(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to choose: there is no attention."""

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **kwargs: Any
    ) -> SequenceClassifierOutput:
        """Logits (batch, classes) of input_ids and attention_mask, both (batch, length)."""
        vectors = self.embeddings(input_ids)  # (batch, length, width)
        scores = self.scores(input_ids).squeeze(-1).float()  # (batch, length)
        weights = scores.masked_fill(attention_mask == 0, -1e4).softmax(dim=-1)
        pooled = (weights.to(vectors.dtype).unsqueeze(1) @ vectors).squeeze(1)  # (batch, width)
        hidden = self.dropout(torch.relu(self.dense(pooled)))
        logits = self.classifier(hidden)
        if not kwargs.get("output_hidden_states"):
            return SequenceClassifierOutput(logits=logits)
        # One state a text, where a layer has one a token: (batch, 1, width) and (batch, 1, hidden).
        states = pooled.unsqueeze(1), hidden.unsqueeze(1)
        return SequenceClassifierOutput(logits=logits, hidden_states=states)


AutoConfig.register("lmopt_static", StaticConfig)
AutoModelForSequenceClassification.register(StaticConfig, StaticClassifier)


@torch.inference_mode()
def token_vectors(model: PreTrainedModel, prefix: list[int], suffix: list[int]) -> torch.Tensor:
    """What the encoder makes of each token alone: (vocabulary, hidden).

    The mean of its last hidden states over `prefix` + token + `suffix` (the special tokens).
    Source: Model2Vec, "forward pass each token".
    """
    count = model.get_input_embeddings().weight.shape[0]
    parts = []
    for start in range(0, count, BATCH_SIZE):
        ids = torch.arange(start, min(count, start + BATCH_SIZE)).unsqueeze(1)
        rows = [
            torch.tensor(part, dtype=torch.long).expand(len(ids), -1) for part in (prefix, suffix)
        ]
        inputs = torch.cat([rows[0], ids, rows[1]], dim=1)
        states = model.base_model(input_ids=inputs, attention_mask=torch.ones_like(inputs))
        parts.append(states.last_hidden_state.mean(dim=1))
    return torch.cat(parts)


def principal_components(vectors: torch.Tensor, width: int) -> torch.Tensor:
    """Vectors (n, d) projected on their first `width` principal components, scaled to unit spread.

    Columns beyond d are zero.
    """
    centred = vectors - vectors.mean(dim=0)
    _, _, directions = torch.linalg.svd(centred.T @ centred)
    projected = centred @ directions[:width].T  # (n, min(width, d))
    projected = projected / projected.std()
    return nn.functional.pad(projected, (0, width - projected.shape[1]))


def make_static(
    model: PreTrainedModel, tokenizer: Any, *, width: int, hidden: int, seed: int
) -> StaticClassifier:
    """A static classifier for the tokens of a fine-tuned model, with the same labels."""
    torch.manual_seed(seed)
    ends = tokenizer(tokenizer.unk_token)["input_ids"]  # With the special tokens around it.
    place = ends.index(tokenizer.unk_token_id)
    vectors = token_vectors(model.eval(), ends[:place], ends[place + 1 :])
    static = StaticClassifier(
        StaticConfig(
            vocab_size=len(vectors),
            width=width,
            hidden=hidden,
            id2label=model.config.id2label,
            label2id=model.config.label2id,
            pad_token_id=model.config.pad_token_id,
            architectures=["StaticClassifier"],
        )
    )
    with torch.no_grad():
        static.embeddings.weight.copy_(principal_components(vectors, width))
        static.scores.weight.zero_()
    return static
