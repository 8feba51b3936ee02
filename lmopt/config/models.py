"""Configuration of the teacher and of the student's checkpoint."""

from pydantic import Field

from lmopt.config.base import Config


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
