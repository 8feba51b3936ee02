"""Configuration of the runtime that artifacts are measured in."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from lmopt.config.base import Config
from lmopt.runtimes.registry import NAMES, RUNTIMES, runtime_named

_ON_GPU = " or ".join(runtime.name for runtime in RUNTIMES if "cuda" in runtime.devices)
_PADDED = " or ".join(runtime.name for runtime in RUNTIMES if runtime.pad_to_multiple_of)


def _known(name: str) -> str:
    if name not in NAMES:
        *most, last = (repr(known) for known in NAMES)
        raise ValueError(f"must be {', '.join(most)} or {last}, got {name!r}")
    return name


RuntimeName = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": list(NAMES)})]


class RuntimeConfig(Config):
    """Where artifacts run, and how often they are timed."""

    name: RuntimeName = NAMES[0]
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description=f"Of runtime {_ON_GPU}; auto: the GPU where there is one. Others: the CPU.",
    )
    threads: int = Field(1, ge=1, description="Threads of the timed and evaluated artifact.")
    pad_to_multiple_of: int = Field(
        RUNTIMES[0].pad_to_multiple_of,
        ge=0,
        description=f"Of runtime {_PADDED}: texts are timed padded to a multiple of so many "
        "tokens, the model compiled for each such length; 0: one model for any length, which is "
        "slower.",
    )
    rounds_b1: int = Field(45, ge=3, description="Timed calls of each artifact at batch 1.")
    rounds_b32: int = Field(6, ge=3, description="Timed calls of each artifact at batch 32.")

    @model_validator(mode="before")
    @classmethod
    def _pads_as_its_runtime(cls, values: Any) -> Any:
        name = values.get("name", NAMES[0]) if isinstance(values, dict) else NAMES[0]
        if name == NAMES[0] or name not in NAMES:
            return values
        return {"pad_to_multiple_of": runtime_named(name).pad_to_multiple_of} | values

    @model_validator(mode="after")
    def _runs_there(self) -> Self:
        runtime = runtime_named(self.name)
        if self.device not in ("auto", *runtime.devices):
            raise ValueError(
                f"device {self.device} needs name {_ON_GPU}, got {self.name}: "
                f"take 'auto' or {_ON_GPU}"
            )
        if runtime.pad_to_multiple_of == 0 and self.pad_to_multiple_of > 0:
            raise ValueError(
                f"pad_to_multiple_of is of name {_PADDED}, got {self.name}: leave it out"
            )
        return self
