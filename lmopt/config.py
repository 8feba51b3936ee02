"""What a user says about the task, the teacher, the student, the runtime, and one recipe.

All models are frozen and forbid unknown keys; ranges live with the field. This module imports
pydantic only, so the command line can validate a sweep without loading torch.
"""

import hashlib
import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Bits = Literal[32, 16, 8, 4, 3, 2]
BITS: tuple[Bits, ...] = (32, 16, 8, 4, 3, 2)

# What a recipe that trains nothing does not depend on.
TRAINING_FIELDS = {
    "temperature",
    "alpha",
    "learning_rate",
    "batch_size",
    "train_examples",
    "freeze_embeddings",
    "dropout",
}

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


class TaskConfig(Config):
    """A text classification task.

    `dataset` is a hub id, a folder (saved by `datasets`, holding `<class>/*.txt`, or holding
    train/validation/test files), a csv, json lines or parquet file, or
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
        None, description="More text, labelled by the teacher; what is held out is left out of it."
    )
    rechunk: int = Field(
        0, ge=0, description="Training documents cut anew so many times: more text of that kind."
    )

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

    name: Literal["openvino"] = "openvino"
    threads: int = Field(1, ge=1, description="Threads of the timed and evaluated artifact.")
    rounds_b1: int = Field(45, ge=3, description="Timed calls of each artifact at batch 1.")
    rounds_b32: int = Field(6, ge=3, description="Timed calls of each artifact at batch 32.")


class Recipe(Config):
    """What is done to the teacher. Every default means "no compression"; any field may be searched.

    `layers` encoder layers of `base` are kept (evenly spaced, the last one included), trained for
    `epochs` on `alpha` x soft loss at `temperature` + (1 - `alpha`) x hard loss, pruned to
    `sparsity` with `recovery_epochs` of the same training, and stored at `bits`.
    """

    base: Literal["teacher", "student"] = "teacher"
    layers: int | None = Field(None, ge=1)
    temperature: float = Field(2.0, gt=0)
    alpha: float = Field(0.5, ge=0, le=1, description="Weight of the soft (distillation) loss.")
    epochs: float = Field(0, ge=0, description="Distillation; 0: none.")
    learning_rate: float = Field(1e-4, gt=0)
    batch_size: int = Field(32, ge=1)
    train_examples: int | None = Field(None, ge=1, description="At most so many; None: all.")
    freeze_embeddings: bool = Field(False, description="Faster; word embeddings keep their values.")
    dropout: float | None = Field(None, ge=0, lt=1, description="None: the model's own.")
    sparsity: float = Field(0, ge=0, lt=1, description="Share of zero weights in encoder layers.")
    recovery_epochs: float = Field(0, ge=0, description="Training with the mask held.")
    bits: Bits = 32
    seed: int = Field(0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def canonical(self) -> "Recipe":
        """The same recipe with the fields that cannot matter at their defaults."""
        drop = {"device"}
        if self.sparsity == 0:
            drop.add("recovery_epochs")
        trains = self.epochs > 0 or (self.sparsity > 0 and self.recovery_epochs > 0)
        if not trains:
            drop |= TRAINING_FIELDS
            if self.base == "teacher":  # A student checkpoint gets a new head, drawn by seed.
                drop.add("seed")
        if self.alpha == 0:
            drop.add("temperature")
        return Recipe(**self.model_dump(exclude=drop))

    def untrained(self) -> "Recipe":
        """The recipe of the same shape and bits without training: what size and latency need."""
        return Recipe(base=self.base, layers=self.layers, bits=self.bits).canonical()

    def key(self) -> str:
        """Hash of the canonical form: equal keys, equal artifacts."""
        canonical = json.dumps(self.canonical().model_dump(), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
