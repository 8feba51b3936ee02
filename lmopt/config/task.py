"""Configuration of the task: data, columns, splits and extra text."""

from typing import Self

from pydantic import Field, model_validator

from lmopt.config.base import Config, Fraction


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


DEFAULT_KIND = "classification"


class TaskConfig(Config):
    """What is learnt, and from which data; `kind` names one of the tasks of `lmopt.tasks.registry`.

    `dataset` is a hub id, a folder (saved by `datasets`, holding `<class>/*.txt`, or holding
    train/validation/test files), a csv, json lines or parquet file (compressed or not), or
    `package:<import name>/<path>` for data that a pip package ships.
    """

    kind: str = Field(DEFAULT_KIND, description="The task; the data is read and scored by it.")
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
