"""Configuration of the task: data, columns, splits and extra text."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lmopt.config.base import Config, Fraction


def _one_column(value: object) -> object:
    if isinstance(value, list | tuple | dict):
        raise ValueError(
            "must be the name of one column: pairs of texts are not supported yet; join them into "
            f"one column (got {value})"
        )
    return value


def _known_encoding(name: str) -> str:
    try:
        b"a".decode(name, errors="replace")
    except (LookupError, ValueError):
        raise ValueError(
            f"must be an encoding that Python knows (cp1251, koi8-r, utf-16), got {name!r}"
        ) from None
    return name


def _one_character(separator: str) -> str:
    separator = {"tab": "\t", "\\t": "\t"}.get(separator, separator)
    if len(separator) != 1 or separator in '"\n\r ':
        raise ValueError(f"must be one character, ';' for example, or tab, got {separator!r}")
    return separator


class FileFormat(Config):
    """How the files of a data set are written; what is left out is found in the files."""

    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = Field(
        None, description="Encoding of text files; UTF-8 or a byte order mark need no name."
    )
    separator: Annotated[str, AfterValidator(_one_character)] | None = Field(
        None, description="Character between the columns of a csv file."
    )
    quoting: Literal["doubled", "backslash", "none"] | None = Field(
        None,
        description="Quotes inside the quoted texts of a csv file are doubled, or follow a "
        "backslash; none: quotes are part of the texts.",
    )


class SplitConfig(Config):
    """Shares of the documents, for data that brings no splits of its own."""

    train: Fraction = 0.5
    validation: Fraction = 0.15
    test: Fraction = 0.35
    allow_shared_groups: bool = Field(
        False, description="Accept splits of the data set's own that share documents."
    )

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + validation + test must be 1, got {total:g}")
        return self


class UnlabelledConfig(FileFormat):
    """Text without labels, for the teacher to label.

    `dataset` is what `task.dataset` may be, or any folder of *.txt files, or a txt file with a text
    on each line; all its splits are read, labels are not.
    """

    dataset: str = Field(min_length=1)
    text_column: str = "text"


# These fields name more text to learn from. The teacher, and the data that is measured on, do not
# depend on them.
EXTRA_TEXT = frozenset({"unlabelled", "rechunk"})


DEFAULT_KIND = "classification"


class TaskConfig(FileFormat):
    """The task, and the data that it is learned from; `kind` names one of `lmopt.tasks.registry`.

    `dataset` is a hub id, a folder (saved by `datasets`, cloned from the hub, holding
    `<class>/*.txt`, or holding train/validation/test files, in shards or not), a csv, json lines or
    parquet file (compressed or not), or `package:<import name>/<path>` for data that a pip package
    ships.
    """

    kind: str = Field(DEFAULT_KIND, description="The task; the data is read and scored by it.")
    dataset: str = Field(min_length=1)
    text_column: Annotated[str, BeforeValidator(_one_column)] = "text"
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
        None, description="More text to learn from; held-out text is left out of it."
    )
    rechunk: int = Field(
        0, ge=0, description="Training documents cut anew so many times: more text of that kind."
    )

    def data_parameters(self) -> dict[str, Any]:
        """Return the fields that decide the task's data, for a content key.

        A field that came later is left out at its default, so that older keys stay the same.
        """
        parameters = self.model_dump(exclude={"kind", "dataset", "max_length", *EXTRA_TEXT})
        return _without_later_defaults(parameters)

    def extra_text_parameters(self) -> dict[str, Any]:
        """Return the fields that decide the extra text, for a content key."""
        parameters = self.model_dump(include={*EXTRA_TEXT, "chunk_min_words", "seed"})
        return _without_later_defaults(parameters)

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


def _without_later_defaults(parameters: dict[str, Any]) -> dict[str, Any]:
    """Leave out `FileFormat` and `allow_shared_groups` where they are as they always were."""
    kept: dict[str, Any] = {}
    for name, value in parameters.items():
        if name in FileFormat.model_fields and value is None:
            continue
        if name == "allow_shared_groups" and not value:
            continue
        kept[name] = _without_later_defaults(value) if isinstance(value, dict) else value
    return kept
