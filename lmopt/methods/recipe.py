"""The recipe of one trial: the settings of every method, and the questions that the rest asks.

This module imports pydantic only, so the command line validates a sweep without loading torch.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self, cast

from pydantic import create_model

from lmopt.methods.base import PHASES, Claim, Method, Names
from lmopt.methods.registry import METHODS, RecipeFields
from lmopt.methods.training import ORDERED


class Recipe(RecipeFields):
    """The settings of every method. Each default means "no compression"; any may be searched."""

    methods: ClassVar[tuple[Method, ...]] = METHODS

    def idle(self) -> set[str]:
        """Return the fields that have no effect in this recipe, whatever their value is."""
        idle = {name for method in self.methods for name in method.idle(self)}
        for method in self.methods:
            if method.code is not None and not method.is_used(self):
                idle |= set(method.own_fields) - set(method.switches)
        return idle

    def canonical(self) -> Self:
        """Return the same recipe with its idle fields at their defaults."""
        return type(self)(**self.model_dump(exclude=self.idle()))

    def untrained(self) -> Self:
        """Return the recipe of the same shape and storage without training.

        Size and latency need no more than that.
        """
        trained = {name for method in self.methods for name in method.leaves_shape}
        return type(self)(**self.model_dump(exclude=trained)).canonical()

    def key(self) -> str:
        """Return the hash of the canonical form: equal keys mean equal artifacts."""
        recipe = self.canonical()
        values: dict[str, Any] = recipe.model_dump()
        for method in self.methods:
            if method.code is not None:  # A researcher's own: known by its source, if it is used.
                own = {name: values.pop(name) for name in method.own_fields}
                if method.is_used(recipe):
                    values[method.name] = own | {"code": method.code}
        canonical = json.dumps(values, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def walk(self, has_checkpoint: bool) -> Iterator[Method]:
        """Yield the methods that have a stage in this canonical recipe, in the order of the walk.

        A student from a checkpoint is made before its vocabulary is trimmed. A student that is cut
        from the teacher is made after that.
        """
        ordered = [ORDERED[word] for word in self.order.split(",")]
        places = {name: place for place, name in enumerate(ordered)}

        def place(method: Method) -> tuple[int, int]:
            phase = method.phase
            if method.name == "student" and has_checkpoint:
                phase = "checkpoint"
            return PHASES.index(phase), places.get(method.name, len(places))

        yield from sorted(
            (
                method
                for method in self.methods
                if method.is_run(self) or (method.name == "student" and has_checkpoint)
            ),
            key=place,
        )

    def refusal(self, model: Mapping[str, Any]) -> str | None:
        """Return why a model with this config.json cannot be compressed so; None if it can."""
        reasons = (method.refusal(self, model) for method in self.methods)
        return next((reason for reason in reasons if reason is not None), None)

    def storage(self) -> dict[str, Any]:
        """Return the arguments of `lmopt.weights.plan.plan_storage`."""
        return {name: v for method in self.methods for name, v in method.storage(self).items()}

    def settings(self) -> dict[str, str]:
        """Return title -> settings of the methods that this canonical recipe uses, as short text.

        >>> Recipe(layers=2, epochs=1, bits=4).settings()
        {'distillation': '2 layers', 'quantization': '4 bits'}
        """
        found: dict[str, list[str]] = {}
        for method in self.methods:
            if method.title is not None and method.is_used(self):
                found.setdefault(method.title, []).append(method.setting(self))
        return {
            title: ", ".join(filter(None, texts)) or "all layers" for title, texts in found.items()
        }

    def sentences(self, names: Names) -> list[str]:
        """Return what was done in sentences. A field that no sentence tells of is named."""
        said = [s for method in self.methods for s in method.sentences(self, names)]
        told = {name for sentence in said for name in sentence.fields}
        return [s.text for s in said] + [
            self._by_name(name)
            for name in self.model_dump(exclude_defaults=True)
            if name not in told
        ]

    def _by_name(self, name: str) -> str:
        about = type(self).model_fields[name].description
        meaning = f" ({about.rstrip('.')})" if about else ""
        return f"`{name}`: {getattr(self, name)}{meaning}"

    def tags(self) -> list[str]:
        """Return the model card's tags of the methods that this canonical recipe uses."""
        tags: list[str] = []
        for method in self.methods:
            own = method.tags(self) if method.tags else [method.name] * method.is_used(self)
            tags += own
        return list(dict.fromkeys(tags))

    def claim(self, zeros: float) -> Claim:
        """Return the claimed gain of all methods, given the measured share of zeros."""
        size, work = 1.0, 1.0
        for method in self.methods:
            own = method.claim(self, zeros)
            size, work = size * own.size, work * own.work
        return Claim(size, work)

    @classmethod
    def epoch_fields(cls) -> tuple[str, ...]:
        """Return the fields that hold epochs of training."""
        return tuple(method.epochs for method in cls.methods if method.epochs is not None)

    @classmethod
    def untouched(cls) -> dict[str, Any]:
        """Return the switches of all methods at their defaults: the teacher as it is."""
        return {name: m.off(name) for m in cls.methods for name in m.switches}

    @classmethod
    def method_of(cls, field: str) -> Method:
        """Return the method that a recipe field belongs to."""
        return next(method for method in cls.methods if field in method.own_fields)

    @classmethod
    def shown(cls, field: str) -> dict[str, str]:
        """Return unit, header and label of a recipe field, as far as it has them."""
        extra = cls.model_fields[field].json_schema_extra
        return {str(k): str(v) for k, v in extra.items()} if isinstance(extra, dict) else {}


def extended(own: Sequence[Method]) -> type[Recipe]:
    """Return a recipe type with a researcher's own methods beside lmopt's."""
    if not own:
        return Recipe
    bases: Any = (*(method.fields for method in reversed(own)), Recipe)
    make: Callable[..., Any] = create_model
    made = make("Recipe", __base__=bases)
    made.methods = (*METHODS, *own)
    return cast("type[Recipe]", made)
