"""The Method protocol: everything that lmopt must know of a compression method.

A method is one module with one `Method`. The module declares the method's recipe fields, says when
the method is on and which fields are idle, and applies it. Modules of this room import no torch
before `apply` runs, since the command line reads all of them on a login node.

To add a method, write its module and add its two lines to `lmopt.methods.registry`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from lmopt.config.base import Config
from lmopt.data.dataset import Data
from lmopt.stages.cache import Stage
from lmopt.stages.context import Walk

if TYPE_CHECKING:
    from lmopt.methods.recipe import Recipe

Phase = Literal["checkpoint", "vocabulary", "shape", "pretrain", "train", "store"]
PHASES: tuple[Phase, ...] = ("checkpoint", "vocabulary", "shape", "pretrain", "train", "store")
"""The walk of a trial, in order. After "checkpoint" and "vocabulary" texts are tokenized anew."""


class Texts(NamedTuple):
    """Texts to train on, their tokens, and the logits of the teacher that labelled them, if any.

    `extra` holds the same for extra texts, whose own labels are not used. It is None without any.
    """

    data: Data
    tokens: Stage
    logits: Stage | None
    split: str = "train"
    extra: "Texts | None" = None


@dataclass(frozen=True, kw_only=True)
class Context:
    """The surroundings of a method within one trial.

    Attributes:
        walk: Runs and caches stages.
        teacher: The fine-tuned teacher.
        checkpoint: Location of the student's own checkpoint, or None if the student is cut from
            the teacher.
        max_length: Tokens of the longest text.
        whole: The model before its layers were cut.
        label: Returns the texts with the logits of another saved model.
        storage: Arguments of `lmopt.weights.plan.plan_storage`; complete in phase "store".
    """

    walk: Walk
    teacher: Stage
    checkpoint: str | None
    max_length: int
    whole: Stage
    label: Callable[[Stage, Texts], Texts]
    storage: Mapping[str, Any] = field(default_factory=dict)

    def salted(self, code: str) -> "Context":
        """Return the context whose stages depend on a method's own code as well."""
        return replace(self, walk=replace(self.walk, salt=code))


class Names(NamedTuple):
    """Names that the sentences of a model card use."""

    teacher: str
    student: str | None
    extra_texts: bool


class Sentence(NamedTuple):
    """One sentence of a model card, and the recipe fields that it tells of."""

    text: str
    fields: frozenset[str]


class Claim(NamedTuple):
    """The gain that papers claim for a method, as factors of the baseline's bytes and time.

    `size` multiplies the bytes of a weight, `work` the multiply-accumulates. NaN claims nothing.
    """

    size: float = 1.0
    work: float = 1.0


class Work(NamedTuple):
    """The amount of work that training is estimated from; None where nobody knows.

    `own` and `teacher` are parameters of the encoder layers, `texts` and `extra` numbers of texts,
    `length` tokens of a text.
    """

    own: float | None
    teacher: float | None
    texts: float | None
    extra: float | None
    length: int


class Search(NamedTuple):
    """The facts that a method's reference point depends on.

    `middle` holds a middle value of each searched field, `bits` the widths that the runtime stores.
    """

    middle: Mapping[str, Any]
    bits: tuple[int, ...]


Apply = Callable[[Context, "Recipe", Stage, Texts], Stage]


def _nothing_idle(recipe: "Recipe") -> set[str]:
    return set()


def _never_refused(recipe: "Recipe", model: Mapping[str, Any]) -> str | None:
    return None


def _no_setting(recipe: "Recipe") -> str:
    return ""


def _no_sentences(recipe: "Recipe", names: Names) -> list[Sentence]:
    return []


def _no_claim(recipe: "Recipe", sparsity: float) -> Claim:
    return Claim()


def _no_reference(untouched: dict[str, Any], search: Search) -> dict[str, Any] | None:
    return None


def _no_storage(recipe: "Recipe") -> dict[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Method:
    """One compression method.

    Attributes:
        name: The method's own name; the name of its module for lmopt's own.
        fields: Pydantic mix-in of the method's recipe fields, made with `setting`.
        switches: Fields that compress. All of them at their defaults leave the model as it is.
        title: Name in tables and figures; several methods may share one. None hides the method.
        apply: Runs the method's stage and returns it. None if the method only changes storage.
        phase: Place in the walk of a trial.
        is_on: Whether the method changes the model, for a canonical recipe. Default: a switch
            differs from its default.
        runs: Whether `apply` is called. Default: `is_on`.
        idle: Fields that have no effect in a recipe, by their names.
        epochs: Field that holds the epochs of the method's training, if it trains.
        trains: Whether the training happens in a recipe. Default: `epochs` is not idle and not 0.
        leaves_shape: Fields that change weights, and neither shapes nor storage.
        refusal: Reason, in one line that begins with the field, why a model with the given
            config.json cannot be compressed so. None if it can.
        storage: Arguments for `lmopt.weights.plan.plan_storage`.
        setting: Short text for tables, "4 bits"; empty if there is nothing to say.
        sentences: Sentences of the model card.
        tags: Tags of the model card, for a canonical recipe.
        claim: Claimed gains, from the canonical recipe and the measured share of zeros.
        reference_name: Name of the reference point that shows the method alone.
        reference: Recipe fields of that point, from those of the untouched teacher; None: no point.
        operations: Estimated floating point operations of the training. Default: 6 for each
            parameter, token and epoch (Kaplan et al. 2020, section 2.1).
        shared: Whether trials that agree in the earlier fields share one training.
        code: Hash of the source of a researcher's own method, part of every key. None for lmopt's.
    """

    name: str
    fields: type[Config]
    switches: tuple[str, ...] = ()
    title: str | None = None
    apply: Apply | None = None
    phase: Phase = "train"
    is_on: Callable[["Recipe"], bool] | None = None
    runs: Callable[["Recipe"], bool] | None = None
    idle: Callable[["Recipe"], set[str]] = _nothing_idle
    epochs: str | None = None
    trains: Callable[["Recipe"], bool] | None = None
    leaves_shape: frozenset[str] = frozenset()
    refusal: Callable[["Recipe", Mapping[str, Any]], str | None] = _never_refused
    storage: Callable[["Recipe"], dict[str, Any]] = _no_storage
    setting: Callable[["Recipe"], str] = _no_setting
    sentences: Callable[["Recipe", Names], list[Sentence]] = _no_sentences
    tags: Callable[["Recipe"], list[str]] | None = None
    claim: Callable[["Recipe", float], Claim] = _no_claim
    reference_name: str | None = None
    reference: Callable[[dict[str, Any], Search], dict[str, Any] | None] = _no_reference
    operations: Callable[[Mapping[str, Any], Work], float | None] | None = None
    shared: bool = False
    code: str | None = None

    @property
    def own_fields(self) -> tuple[str, ...]:
        """Names of the method's recipe fields."""
        return tuple(self.fields.model_fields)

    def is_used(self, recipe: "Recipe") -> bool:
        """Return whether the method changes the model of a canonical recipe."""
        if self.is_on is not None:
            return self.is_on(recipe)
        return any(getattr(recipe, name) != self.off(name) for name in self.switches)

    def is_run(self, recipe: "Recipe") -> bool:
        """Return whether the method has a stage in a canonical recipe."""
        return self.apply is not None and (self.runs or self.is_used)(recipe)

    def is_trained(self, recipe: "Recipe") -> bool:
        """Return whether the method trains in a recipe, canonical or not."""
        if self.epochs is None:
            return False
        wanted = self.trains is None or self.trains(recipe)
        return wanted and getattr(recipe, self.epochs) > 0

    def cost(self, recipe: Mapping[str, Any], work: Work) -> float | None:
        """Return the estimated operations of the method's training; None where nobody knows."""
        epochs = 0 if self.epochs is None else recipe[self.epochs]
        if epochs == 0 or work.own == 0:
            return 0.0
        if self.operations is not None:
            return self.operations(recipe, work)
        if work.own is None or work.texts is None:
            return None
        return float(6 * work.own * work.texts * epochs * work.length)

    def off(self, name: str) -> Any:
        """Return the default of one of the method's fields."""
        return self.fields.model_fields[name].default


def setting(
    default: Any, *, unit: str = "", header: str = "", label: str = "", **limits: Any
) -> Any:
    """Declare a recipe field with its range, description, unit and names.

    Args:
        default: The value that means "no compression".
        unit: Unit of the values for axes and tables; empty for a pure number.
        header: Short column header for a terminal, at most 8 characters. Default: the name.
        label: Name on the axes of figures. Default: the name with blanks.
        **limits: Arguments of `pydantic.Field`: `ge`, `lt`, `description` and so on.
    """
    shown: dict[str, Any] = {
        key: text for key, text in (("unit", unit), ("header", header), ("label", label)) if text
    }
    return Field(default, json_schema_extra=shown or None, **limits)
