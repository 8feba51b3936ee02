"""The search space of a sweep: distributions as Optuna has them, written in YAML."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, FiniteFloat, model_validator

from lmopt.config.base import Config

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


PROBED_VALUES = 1000
Scalar = bool | int | float | str | None


class Float(Config):
    """A real number in [low, high]."""

    type: Literal["float"]
    low: FiniteFloat
    high: FiniteFloat
    step: FiniteFloat | None = Field(default=None, gt=0, description="Spacing; not with log.")
    log: bool = Field(default=False, description="Sample on a logarithmic scale.")

    @model_validator(mode="after")
    def _check(self) -> "Float":
        _check_range(self.low, self.high, self.log, self.step is not None)
        return self

    def bounds(self) -> list[Scalar]:
        """Return the extreme values."""
        return [self.low, self.high]

    def size(self) -> float:
        """Return how many values there are; infinite without a step."""
        if self.low == self.high:
            return 1
        return (
            math.inf
            if self.step is None
            else math.floor((self.high - self.low) / self.step + 1e-9) + 1
        )


class Int(Config):
    """A whole number in [low, high]."""

    type: Literal["int"]
    low: int
    high: int
    step: int = Field(default=1, ge=1)
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> "Int":
        _check_range(self.low, self.high, self.log, self.step != 1)
        return self

    def bounds(self) -> list[Scalar]:
        """Return the extreme values."""
        return [self.low, self.high]

    def size(self) -> float:
        """Return how many values there are."""
        return (self.high - self.low) // self.step + 1


class Categorical(Config):
    """One of the choices, without an order. A plain YAML list means this."""

    type: Literal["categorical"]
    choices: list[Scalar] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "Categorical":
        if len({repr(choice) for choice in self.choices}) != len(self.choices):
            raise ValueError(f"each choice must be given once, got {self.choices}")
        return self

    def bounds(self) -> list[Scalar]:
        """Return every choice."""
        return self.choices

    def size(self) -> float:
        """Return how many values there are."""
        return len(self.choices)


def _check_range(low: float, high: float, log: bool, stepped: bool) -> None:
    if low > high:
        raise ValueError(f"low must not be above high, got low {low} and high {high}")
    if log and low <= 0:
        raise ValueError(f"a log scale needs low above 0, got {low}")
    if log and stepped:
        raise ValueError("log and step cannot be combined: take one of them out")


def _read_shorthand(value: Any) -> Any:
    if isinstance(value, list):
        return {"type": "categorical", "choices": value}
    if not isinstance(value, Mapping | Config):
        raise ValueError(
            f"a searched parameter needs a distribution or a list of choices, got {value!r}; "
            "a fixed value belongs under recipe:"
        )
    return value


Distribution = Annotated[
    Annotated[Float | Int | Categorical, Field(discriminator="type")],
    BeforeValidator(
        _read_shorthand, json_schema_input_type=list[Scalar] | Float | Int | Categorical
    ),
]


def to_optuna(distribution: Float | Int | Categorical) -> "BaseDistribution":
    """Return the same distribution as an Optuna object."""
    from optuna import distributions

    if isinstance(distribution, Categorical):
        return distributions.CategoricalDistribution(distribution.choices)
    low, high, log = distribution.low, distribution.high, distribution.log
    if isinstance(distribution, Int):
        return distributions.IntDistribution(int(low), int(high), log=log, step=distribution.step)
    return distributions.FloatDistribution(low, high, log=log, step=distribution.step)


def distributions(
    space: Mapping[str, Float | Int | Categorical],
) -> dict[str, "BaseDistribution"]:
    """Return a search space as Optuna's distributions."""
    return {name: to_optuna(distribution) for name, distribution in space.items()}


def grid_size(space: Mapping[str, Float | Int | Categorical]) -> float:
    """Return the number of distinct points of a space; infinite if a parameter is continuous."""
    return math.prod(distribution.size() for distribution in space.values())


def grid(space: Mapping[str, Float | Int | Categorical]) -> Iterator[dict[str, Any]]:
    """Yield every point of a finite space."""
    for values in itertools.product(*(_values(distribution) for distribution in space.values())):
        yield dict(zip(space, values, strict=True))


def _values(distribution: Float | Int | Categorical) -> list[Any]:
    if isinstance(distribution, Categorical):
        return list(distribution.choices)
    step = distribution.step or 1
    # Rounding must not carry the last value past the end: 6 x 0.1 is 0.6000000000000001.
    values = (distribution.low + index * step for index in range(int(distribution.size())))
    return [min(distribution.high, value) for value in values]


def probes(distribution: Float | Int | Categorical) -> list[Any]:
    """Return values that stand for all: each one of a small space, else its ends and inside."""
    if isinstance(distribution, Categorical) or distribution.size() <= PROBED_VALUES:
        return _values(distribution)
    inside = distribution.low + (distribution.high - distribution.low) * 0.3819
    return [*distribution.bounds(), round(inside) if isinstance(distribution, Int) else inside]


def describe(distribution: Float | Int | Categorical) -> str:
    """Return one readable line, e.g. `1 … 8, log`."""
    if isinstance(distribution, Categorical):
        return ", ".join("none" if c is None else str(c) for c in distribution.choices)
    text = f"{distribution.low:g} … {distribution.high:g}"
    if distribution.log:
        return text + ", log"
    is_default = distribution.step == (None if isinstance(distribution, Float) else 1)
    if distribution.step is not None and not is_default:
        return text + f", step {distribution.step:g}"
    return text
