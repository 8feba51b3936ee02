"""What a user says about the task, the teacher, the student, the runtime, and one recipe.

All models are frozen and forbid unknown keys; ranges live with the field. This module imports
pydantic only, so the command line can validate a sweep without loading torch.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Bits = Literal[32, 16, 8, 4, 3, 2]
BITS: tuple[Bits, ...] = (32, 16, 8, 4, 3, 2)
RuntimeName = Literal["openvino", "onnxruntime", "torch"]

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

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Config(BaseModel):
    """Base of every configuration object: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitConfig(Config):
    """Shares of the documents, for data that brings no splits of its own."""

    train: Fraction = 0.5
    validation: Fraction = 0.15
    test: Fraction = 0.35

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + validation + test must be 1, got {total:g}")
        return self


class UnlabelledConfig(Config):
    """Text without labels, for the teacher to label.

    `dataset` is what `task.dataset` may be, or any folder of *.txt files, or a txt file with a text
    on each line; all its splits are read, labels are not.
    """

    dataset: str = Field(min_length=1)
    text_column: str = "text"


# What names more text to learn from: the teacher, and the data that numbers are taken on, are the
# same without.
EXTRA_TEXT = frozenset({"unlabelled", "rechunk"})


class TaskConfig(Config):
    """A text classification task.

    `dataset` is a hub id, a folder (saved by `datasets`, holding `<class>/*.txt`, or holding
    train/validation/test files), a csv, json lines or parquet file (compressed or not), or
    `package:<import name>/<path>` for data that a pip package ships.
    """

    dataset: str = Field(min_length=1)
    text_column: str = "text"
    label_column: str = "label"
    group_column: str | None = Field(
        None, description="Document of an example; splits and standard errors go by document."
    )
    chunk_min_words: int | None = Field(
        None, ge=1, description="Pack consecutive sentences of a document to at least so many words"
    )
    max_length: int = Field(128, ge=4, description="Tokens; longer texts are truncated.")
    split: SplitConfig = SplitConfig()
    seed: int = Field(0, ge=0)
    unlabelled: UnlabelledConfig | None = Field(
        None, description="More text to learn from; what is held out is left out of it."
    )
    rechunk: int = Field(
        0, ge=0, description="Training documents cut anew so many times: more text of that kind."
    )

    @property
    def has_extra_texts(self) -> bool:
        """Whether there is text beside the task's own to learn from."""
        return self.unlabelled is not None or self.rechunk > 0

    @model_validator(mode="after")
    def _rechunk_needs_chunks(self) -> Self:
        if self.rechunk > 0 and self.chunk_min_words is None:
            raise ValueError(
                f"rechunk needs documents that are cut: set chunk_min_words, or rechunk to 0 "
                f"(got {self.rechunk})"
            )
        return self


class TeacherConfig(Config):
    """The model to compress, and how it is fine-tuned if it has no head for the task yet."""

    model: str = Field(min_length=1, description="Hub id, folder, or package:<import name>/<path>.")
    finetuned: bool | None = Field(
        None, description="None: it is if it has a classification head with the task's labels."
    )
    epochs: float = Field(2, gt=0)
    learning_rate: float = Field(5e-5, gt=0)
    batch_size: int = Field(32, ge=1)
    train_examples: int | None = Field(None, ge=1, description="At most so many; None: all.")
    freeze_embeddings: bool = Field(False, description="Faster; word embeddings keep their values.")
    dropout: float | None = Field(None, ge=0, lt=1, description="None: the model's own.")
    seed: int = Field(0, ge=0)


class StudentConfig(Config):
    """Where `base: student` starts: a checkpoint with its own tokenizer; None: the teacher."""

    model: str | None = Field(None, description="Hub id, folder, or package:<import name>/<path>.")


class RuntimeConfig(Config):
    """Where artifacts run, and how often they are timed."""

    name: RuntimeName = "openvino"
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Of runtime torch; auto: the GPU where there is one. Others: the CPU."
    )
    threads: int = Field(1, ge=1, description="Threads of the timed and evaluated artifact.")
    pad_to_multiple_of: int = Field(
        8,
        ge=0,
        description="Of runtime openvino: texts are timed padded to a multiple of so many tokens, "
        "the model compiled for each such length; 0: one model for any length, which is slower.",
    )
    rounds_b1: int = Field(45, ge=3, description="Timed calls of each artifact at batch 1.")
    rounds_b32: int = Field(6, ge=3, description="Timed calls of each artifact at batch 32.")

    @model_validator(mode="before")
    @classmethod
    def _any_length_elsewhere(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("name", "openvino") != "openvino":
            return {"pad_to_multiple_of": 0} | values
        return values

    @model_validator(mode="after")
    def _runs_there(self) -> Self:
        if self.device == "cuda" and self.name != "torch":
            raise ValueError(f"device cuda needs name torch, got {self.name}: take 'auto' or torch")
        if self.name != "openvino" and self.pad_to_multiple_of > 0:
            raise ValueError(
                f"pad_to_multiple_of is of name openvino, got {self.name}: leave it out"
            )
        return self


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
        """What `lmopt.storage.plan_storage` takes: how the matrices are stored."""
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
