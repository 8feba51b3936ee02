"""What a runtime is: what it stores, how it builds an artifact, opens it and hands it on.

This module and the `runtime.py` of each runtime import nothing heavy: the command line asks them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lmopt.config.base import Bits
from lmopt.environment import processor_name
from lmopt.methods.recipe import Recipe

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lmopt.data.tokens import Batch, Ints
    from lmopt.runtimes.manifest import Manifest

INPUTS = ("input_ids", "attention_mask")
Shape = tuple[int, int]
"""(batch, length)"""
# Ways to store weights that an artifact follows matrix by matrix, and training on them.
PLAN_FIELDS = (
    "clusters",
    "finetune_epochs",
    "activation_bits",
    "embedding_bits",
    "mixed_share",
    "number_format",
    "rounding",
)


class Session(Protocol):
    """An artifact that is open in its runtime."""

    def __call__(self, input_ids: "Ints", attention_mask: "Ints", /) -> "npt.NDArray[np.float32]":
        """Return logits (batch, classes) of ids and mask, both (batch, length)."""


@dataclass(frozen=True)
class Exporter:
    """How any classifier is written in a runtime's format, and read back without lmopt.

    Attributes:
        held_bits: The width in which the format holds the weights of a trial of so many bits.
        write: Write a saved classifier into a folder; the manifest is that of the artifact that
            the trial was measured on. Raises ValueError for a model that cannot be written.
        open: Open such a folder on so many threads. Raises ValueError, in one line, for a folder
            that cannot be loaded whole.
    """

    held_bits: Callable[[int], int]
    write: Callable[[Path, "Manifest", Path], None]
    open: Callable[[Path, int], Session]


@dataclass(frozen=True)
class Usage:
    """The part of `usage.py` that is a runtime's own (see `lmopt.packaging.usage_script`).

    Attributes:
        packages: What the user has to install for it.
        imports: Its import statements.
        statements: From `ids` (1, length) to `logits` (classes,); where `is_whole`, from `text` to
            the printed answer.
        is_whole: Whether it brings its own tokenizer and prints the answer itself.
    """

    packages: tuple[str, ...]
    imports: tuple[str, ...]
    statements: str
    is_whole: bool = False


class Runtime(ABC):
    """A runtime that artifacts are built for and measured in.

    Attributes:
        name: `runtime.name` of a sweep.
        version: Raised when the same model and recipe give another artifact: part of its key.
        packages: The packages whose versions artifacts and logits depend on, its own one first.
        bits: The widths in which it stores weights.
        takes_plans: Whether it stores each matrix as a plan says (`lmopt.weights.plan`), with
            activations in integers and rounding by training texts; else only `bits` count.
        devices: Where it runs: "cpu", "cuda".
        pad_to_multiple_of: To what texts are padded where they are timed, unless the user says
            otherwise; 0: its models take any length and nothing else.
        export_format: `--format` of its own artifacts.
        exporter: How other models are written in this format; None: they cannot be.
    """

    name: str
    version: int
    packages: tuple[str, ...]
    bits: tuple[Bits, ...]
    takes_plans: bool
    devices: tuple[str, ...]
    pad_to_multiple_of: int
    export_format: str
    exporter: Exporter | None

    def refusal(self, recipe: Recipe) -> str | None:
        """Why it cannot store what the recipe asks for, beginning with the field; None if it can.

        A field is refused at any value but its default, whether or not it matters beside the
        others: in a search it may.
        """
        for name in () if self.takes_plans else PLAN_FIELDS:
            value, default = getattr(recipe, name), Recipe.model_fields[name].default
            if value != default:
                only = "null" if default is None else default
                return f"{name} must be {only} with runtime.name {self.name}, got {value}"
        if recipe.bits not in self.bits:
            *most, last = map(str, self.bits)
            known = f"{', '.join(most)} or {last}" if most else last
            return f"bits must be {known} with runtime.name {self.name}, got {recipe.bits}"
        return None

    def processor(self, device: str) -> str:
        """Name of what runs the artifacts on `device`, one of "auto", "cpu" and "cuda".

        Raises:
            ValueError: There is no such device.
        """
        return processor_name()

    @abstractmethod
    def build(
        self,
        model_folder: Path,
        max_length: int,
        folder: Path,
        stored: Mapping[str, Any],
        calibration: "Sequence[Batch]" = (),
    ) -> None:
        """Write the artifact of a saved classifier into `folder`.

        `stored` says how its matrices are stored: `bits` alone, or for a runtime that takes plans
        what `plan_storage` takes beside `activation_bits` and `rounding`. `calibration` are the
        training texts that these two look at.
        """

    @abstractmethod
    def open(
        self, artifact: Path, manifest: "Manifest", threads: int, device: str, shape: Shape | None
    ) -> Session:
        """Load an artifact with `threads` threads and one stream.

        A runtime with padding compiles it for one `shape`; None: for any.
        """

    def unreadable(self, folder: Path) -> str | None:
        """Why only lmopt reads a saved model in this runtime's format; None if others do too."""
        return None

    @abstractmethod
    def usage(
        self,
        files: Sequence[str],
        max_length: int,
        precision: str | None,
        pad_id: int,
        pad_to_multiple_of: int,
    ) -> Usage:
        """How an exported folder with these model files is used; texts end at `max_length` tokens.

        With `pad_to_multiple_of`, a model is compiled for texts padded with `pad_id` to such a
        length.
        """
