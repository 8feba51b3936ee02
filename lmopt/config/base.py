"""Base class of all configuration objects."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Bits = Literal[32, 16, 8, 4, 3, 2]
BITS: tuple[Bits, ...] = (32, 16, 8, 4, 3, 2)
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Config(BaseModel):
    """Base of every configuration object: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
