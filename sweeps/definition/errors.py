"""The errors of the command: users' mistakes, outages, and pydantic's errors in plain lines."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

import analysis.errors
import lmopt.errors
import slurm.errors
from analysis.rows.spelling import nearest_name

# pydantic's words for its own types, said of the file.
_WORDING = {
    "dict_type": "must hold keys and values",
    "model_type": "must hold keys and values",
    "too_short": "must have {min_length} or more, got {actual_length}",
    "union_tag_not_found": "type is missing: float, int or categorical",
    "union_tag_invalid": "type must be {expected_tags}, got '{tag}'",
}


class ConfigError(lmopt.errors.UserError):
    """A mistake in a file or a command that the user wrote: where it is, what it is, the remedy."""


class CheckFailedError(RuntimeError):
    """What was made did not pass a check of lmopt's own; the message says which."""


# Each ends a command with one line and no traceback. A mistake is the user's to correct.
MISTAKES = (lmopt.errors.UserError, slurm.errors.UserError, analysis.errors.UserError)
# An outage is nobody's mistake and no defect: a full disk, a silent scheduler, a failed check.
OUTAGES = (OSError, slurm.errors.SchedulerError, CheckFailedError)


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Turn a validation error into one line per mistake, with the nearest valid name."""
    lines = []
    for item in error.errors():
        location = list(item["loc"])
        where = ".".join(str(part) for part in _without_tags(model, location))
        if item["type"] == "extra_forbidden":
            lines.append(
                f"unknown key {where}{suggest(str(location[-1]), _fields(model, location))}"
            )
        elif item["type"] == "missing":
            lines.append(f"{where} is missing: add it")
        else:
            template = _WORDING.get(item["type"])  # of ours alone: the user's words have braces too
            message = template.format(**item.get("ctx", {})) if template else item["msg"]
            message = message.removeprefix("Value error, ").replace("Input should be", "must be")
            value = item["input"]
            shown = "" if isinstance(value, dict | list | BaseModel) else f", got {value!r}"
            shown = "" if "got " in message else shown
            lines.append(f"{where}: {message}{shown}" if where else f"{message}{shown}")
    return lines


def suggest(name: str, known: list[str]) -> str:
    """Return the known name that was surely meant as the end of a sentence, else all of them."""
    if near := nearest_name(name, known):
        return f"; did you mean {near!r}?"
    return f"; valid: {', '.join(sorted(known))}" if known else ""


def _fields(model: type[BaseModel], location: list[int | str]) -> list[str]:
    """Return the valid keys at the place that an unknown key was found in."""
    here: list[Any] = [model]
    for part in location[:-1]:
        here = [step for annotation in here for step in _step(annotation, part)]
    return [name for m in here for name in m.model_fields if isinstance(m, type)]


def _without_tags(model: type[BaseModel], location: list[int | str]) -> Iterator[int | str]:
    """Drop the discriminator tags that pydantic puts into a location."""
    for index, part in enumerate(location):
        is_tag = part in ("float", "int", "categorical") and index == 2 and location[0] == "search"
        if not is_tag:
            yield part


def _step(annotation: Any, part: int | str) -> Iterator[Any]:
    """Yield the models that lie behind one step of a location."""
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            if part in option.model_fields:
                yield from _models(option.model_fields[str(part)].annotation)
            elif part == option.__name__.lower():  # a discriminator's tag
                yield option
        elif get_origin(option) is dict:
            yield from _models(get_args(option)[1])


def _models(annotation: Any) -> Iterator[Any]:
    for option in _options(annotation):
        if get_origin(option) is dict or (
            isinstance(option, type) and issubclass(option, BaseModel)
        ):
            yield option


def _options(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, unwrapped."""
    if get_origin(annotation) is Annotated:
        yield from _options(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _options(member)
    else:
        yield annotation
