"""A researcher's own methods: files that a sweep definition names, each with one `Method`.

The code of a file runs wherever the definition is read. Its content is a part of the keys of stages
that it makes and of recipes that use it.
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from lmopt.errors import UserError
from lmopt.methods.base import Method
from lmopt.methods.recipe import Recipe, extended
from lmopt.methods.registry import METHODS

VARIABLE = "METHOD"


def recipe_type_of(files: Sequence[str]) -> type[Recipe]:
    """Return the recipe type with the methods of these files beside lmopt's.

    Raises:
        UserError: A file that is missing, does not run, or has no usable method.
    """
    sources = []
    for file in files:
        try:
            sources.append((file, Path(file).read_bytes()))
        except OSError as error:
            raise UserError(f"methods: cannot read {file} ({error.strerror})") from None
    return _recipe_type(tuple(sources))


@lru_cache(maxsize=32)
def _recipe_type(sources: tuple[tuple[str, bytes], ...]) -> type[Recipe]:
    methods: list[Method] = []
    for file, source in sources:
        method = _load(file, source)
        _check(file, method, [*METHODS, *methods])
        methods.append(method)
    return extended(methods)


def _load(file: str, source: bytes) -> Method:
    code = hashlib.sha256(source).hexdigest()
    module = ModuleType(f"lmopt_own_{Path(file).stem}_{code[:8]}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # dataclasses and pickles look their module up
    try:
        exec(compile(source, file, "exec"), module.__dict__)
    except Exception as error:
        raise UserError(f"methods: {file} does not run: {type(error).__name__}: {error}") from error
    method = getattr(module, VARIABLE, None)
    if not isinstance(method, Method):
        raise UserError(
            f"methods: {file} must define {VARIABLE}, a lmopt.methods.base.Method; "
            "see docs/own-method.md"
        )
    return replace(method, title=method.title or method.name, code=code)


def _check(file: str, method: Method, others: Sequence[Method]) -> None:
    """Refuse a method that shares names with others, or that could not be hashed or applied."""
    taken = {name: other.name for other in others for name in other.own_fields}
    taken |= {name: "Recipe" for name in dir(Recipe) if not name.startswith("__")}
    for name in method.own_fields:
        if name in taken:
            raise UserError(
                f"methods: field {name} of {file} belongs to {taken[name]} already; rename it"
            )
    if method.name in {other.name for other in others}:
        raise UserError(f"methods: {file} is called {method.name!r}, as another one; rename it")
    if not method.own_fields or method.apply is None:
        missing = "apply" if method.apply is None else "fields"
        raise UserError(f"methods: the method of {file} has no {missing}; see docs/own-method.md")
    if unknown := sorted(set(method.switches) - set(method.own_fields)):
        raise UserError(f"methods: switch {unknown[0]} of {file} is none of its fields")
    if not method.switches and method.is_on is None:
        raise UserError(f"methods: the method of {file} needs switches, or is_on")
