"""Configuration of the runtime that artifacts are measured in."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lmopt.config.base import Config

RuntimeName = Literal["openvino", "onnxruntime", "torch"]
Bits = Literal[32, 16, 8, 4, 3, 2]
BITS: tuple[Bits, ...] = (32, 16, 8, 4, 3, 2)


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
