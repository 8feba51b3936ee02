"""The recipe of one trial: every compression setting with its range and its default.

This module imports pydantic only, so the command line validates a sweep without loading torch.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field

from lmopt.config.base import Config

Bits = Literal[32, 16, 8, 4, 3, 2]
BITS: tuple[Bits, ...] = (32, 16, 8, 4, 3, 2)
EPOCHS = ("pretrain_epochs", "epochs", "structure_epochs", "recovery_epochs", "finetune_epochs")
# What a recipe that trains nothing does not depend on.
TRAINING_FIELDS = {
    "temperature",
    "alpha",
    "learning_rate",
    "static_learning_rate",
    "batch_size",
    "train_examples",
    "unlabelled_examples",
    "freeze_embeddings",
    "dropout",
    "token_dropout",
}
PRETRAIN_FIELDS = {"pretrain_learning_rate", "pretrain_examples"}
DISTILL_FIELDS = {"hidden_weight", "attention_weight", "assistant_layers"}
LAYER_FIELDS = {
    "pretrain_learning_rate",
    "hidden_weight",
    "attention_weight",
    "assistant_layers",
    "layer_choice",
    "learning_rate",
    "hidden_size",
    "embedding_rank",
    "ffn_keep",
    "heads_keep",
    "sparsity",
}
STRUCTURE_FIELDS = {"structure_criterion", "structure_scope", "structure_epochs"}
SPARSITY_FIELDS = {"sparsity_criterion", "sparsity_schedule", "recovery_epochs"}
STATIC_FIELDS = {"static_width", "static_hidden", "static_learning_rate"}
QUANTIZATION_FIELDS = {
    "embedding_bits",
    "number_format",
    "activation_bits",
    "rounding",
    "mixed_share",
}
# At their defaults, all of them, a recipe leaves the teacher as it is.
COMPRESSION_FIELDS = (
    "base",
    "layers",
    "vocabulary_min_count",
    "embedding_rank",
    "hidden_size",
    "pretrain_epochs",
    "epochs",
    "assistant_layers",
    "hidden_weight",
    "attention_weight",
    "ffn_keep",
    "heads_keep",
    "structure_epochs",
    "sparsity",
    "clusters",
    "bits",
    "finetune_epochs",
    *sorted(QUANTIZATION_FIELDS),
)
# Single weights last or before distillation alone, which holds the zeros: neurons and heads that
# are cut later would take zeros with them.
Order = Literal[
    "distill,structure,sparsify",
    "structure,distill,sparsify",
    "structure,sparsify,distill",
]


class Recipe(Config):
    """What is done to the teacher. Every default means "no compression"; any field may be searched.

    The passes, each left out at its default: `base` with `layers` encoder layers (0: static
    embeddings), trained for `pretrain_epochs` on the teacher's hidden states, for `epochs` on
    `alpha` x soft loss at `temperature` + (1 - `alpha`) x hard loss; pruned to `sparsity` with
    `recovery_epochs` of the same training; trained for `finetune_epochs` with the weights as they
    will be stored; stored in `clusters` or `bits`.
    """

    base: Literal["teacher", "student"] = "teacher"
    layers: int | None = Field(
        None, ge=0, description="Encoder layers kept; 0: static embeddings. None: all."
    )
    layer_choice: Literal["even", "first", "last", "importance"] = Field(
        "even", description="Which layers: importance keeps those that change their input most."
    )
    vocabulary_min_count: int | None = Field(
        None, ge=1, description="Tokens are kept that training texts use so often; None: all."
    )
    embedding_rank: int | None = Field(
        None, ge=1, description="Word embeddings as a product of two thin matrices; None: as one."
    )
    hidden_size: int | None = Field(
        None,
        ge=1,
        description="Narrower hidden states, by principal components; None: as they are.",
    )
    static_width: int = Field(256, ge=1, description="Length of a static embedding (layers 0).")
    static_hidden: int = Field(256, ge=1, description="Units in a static student's head.")
    temperature: float = Field(2.0, gt=0)
    alpha: float = Field(0.5, ge=0, le=1, description="Weight of the soft (distillation) loss.")
    hidden_weight: float = Field(0, ge=0, description="Of the loss between hidden states.")
    attention_weight: float = Field(0, ge=0, description="Of the loss between attentions.")
    assistant_layers: int | None = Field(
        None, ge=1, description="A distilled model of so many layers teaches the student; None: no."
    )
    pretrain_epochs: float = Field(
        0, ge=0, description="Before distillation: hidden states alone, of unlabelled text too."
    )
    pretrain_learning_rate: float = Field(1e-3, gt=0)
    pretrain_examples: int | None = Field(
        None, ge=0, description="At most so many extra texts beside the training split; None: all."
    )
    epochs: float = Field(0, ge=0, description="Distillation; 0: none.")
    learning_rate: float = Field(1e-4, gt=0)
    static_learning_rate: float = Field(3e-3, gt=0, description="In its place for layers 0.")
    batch_size: int = Field(32, ge=1)
    train_examples: int | None = Field(None, ge=1, description="At most so many; None: all.")
    unlabelled_examples: int = Field(
        0, ge=0, description="At most so many extra texts, of task.unlabelled and task.rechunk."
    )
    freeze_embeddings: bool = Field(False, description="Faster; word embeddings keep their values.")
    dropout: float | None = Field(None, ge=0, lt=1, description="None: the model's own.")
    token_dropout: float = Field(
        0, ge=0, lt=1, description="Share of the tokens that a text is trained without, at random."
    )
    ffn_keep: float = Field(1, gt=0, le=1, description="Share of the FFN neurons that stay.")
    heads_keep: float = Field(1, gt=0, le=1, description="Share of the attention heads that stay.")
    structure_criterion: Literal["taylor", "magnitude"] = "taylor"
    structure_scope: Literal["global", "layer"] = Field(
        "global", description="Neurons and heads compete in the whole model, or in their layer."
    )
    structure_epochs: float = Field(
        0, ge=0, description="Training while neurons and heads go, half of it after; 0: at once."
    )
    sparsity: float = Field(0, ge=0, lt=1, description="Share of zero weights in encoder layers.")
    sparsity_criterion: Literal["magnitude", "global_magnitude", "wanda"] = "magnitude"
    sparsity_schedule: Literal["one_shot", "cubic"] = Field(
        "one_shot", description="cubic: more and more during recovery."
    )
    recovery_epochs: float = Field(0, ge=0, description="Training with the mask held.")
    order: Order = Field("distill,structure,sparsify", description="Which of these is done first.")
    clusters: int | None = Field(
        None, ge=2, le=256, description="Values that the weights of a matrix share; None: bits."
    )
    embedding_clusters: int | None = Field(None, ge=2, le=256, description="None: as clusters.")
    bits: Bits = 32
    embedding_bits: Literal[8, 4, 3, 2] | None = Field(None, description="None: as bits.")
    number_format: Literal["int", "nf4"] = Field("int", description="Of 4-bit weights.")
    activation_bits: Literal[8] | None = Field(
        None, description="Matrix products in 8-bit integers (bits 8); None: floating point."
    )
    rounding: Literal["nearest", "scale_estimation", "awq", "gptq"] = Field(
        "nearest", description="Others look at training texts; linear layers below 8 bits."
    )
    mixed_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        0, description="Share of the weights, in the most sensitive matrices, kept at 8 bits."
    )
    finetune_epochs: float = Field(
        0, ge=0, description="Distillation with the weights as stored: bits < 16, or clusters."
    )
    finetune_learning_rate: float | None = Field(None, gt=0, description="None: as before.")
    seed: int = Field(0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def canonical(self) -> "Recipe":
        """The same recipe with the fields that cannot matter at their defaults."""
        return Recipe(**self.model_dump(exclude=self._without_effect()))

    def _without_effect(self) -> set[str]:
        drop = {"device"}
        static = self.layers == 0
        drop |= LAYER_FIELDS if static else STATIC_FIELDS
        narrows = not static and (self.ffn_keep < 1 or self.heads_keep < 1)
        sparsifies = not static and self.sparsity > 0
        if not narrows:
            drop |= STRUCTURE_FIELDS
        if not sparsifies:
            drop |= SPARSITY_FIELDS
        if sparsifies and self.recovery_epochs == 0:
            drop.add("sparsity_schedule")
        drop |= self._storage_without_effect()
        passes = [self.epochs > 0, narrows, sparsifies]
        if sum(passes) < 2:
            drop.add("order")
        if not any(getattr(self, name) for name in EPOCHS if name not in drop):
            drop |= TRAINING_FIELDS
            if self.base == "teacher" and not static:  # Else a new head is drawn by seed.
                drop.add("seed")
        if self.layers is None:
            drop.add("layer_choice")
        if self.pretrain_epochs == 0:
            drop |= PRETRAIN_FIELDS
        if self.epochs == 0:
            drop |= DISTILL_FIELDS
        if self.alpha == 0:
            drop |= {"temperature", "unlabelled_examples", "assistant_layers"}
        return drop

    def _storage_without_effect(self) -> set[str]:
        drop = set()
        if self.clusters is None:
            drop.add("embedding_clusters")
        else:
            drop |= {"bits", *QUANTIZATION_FIELDS}
        if self.bits >= 16:
            drop |= QUANTIZATION_FIELDS
        if self.bits >= 16 and self.clusters is None:
            drop.add("finetune_epochs")
        if self.bits != 8:
            drop.add("activation_bits")
        if self.bits != 4 and self.embedding_bits != 4:
            drop.add("number_format")
        if self.embedding_bits == self.bits:
            drop.add("embedding_bits")
        if self.bits >= 8:
            drop.add("rounding")
        if min(self.bits, self.embedding_bits or self.bits) >= 8:
            drop.add("mixed_share")
        if self.finetune_epochs == 0 or "finetune_epochs" in drop:
            drop.add("finetune_learning_rate")
        return drop

    def storage(self) -> dict[str, Any]:
        """What `lmopt.weights.plan.plan_storage` takes: how the matrices are stored."""
        names = {"bits", "number_format", "embedding_bits", "clusters", "embedding_clusters"}
        return self.model_dump(include=names)

    def untrained(self) -> "Recipe":
        """The recipe of the same shape and storage without training: what size and latency need."""
        trained = {*EPOCHS, "sparsity", "structure_criterion", *TRAINING_FIELDS}
        return Recipe(**self.model_dump(exclude=trained)).canonical()

    def key(self) -> str:
        """Hash of the canonical form: equal keys, equal artifacts."""
        canonical = json.dumps(self.canonical().model_dump(), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
