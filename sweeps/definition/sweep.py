"""The definition of a sweep: one YAML file, checked whole before anything runs."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    Field,
    FiniteFloat,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from analysis.rows.schema import unit_of
from lmopt.config.base import Config
from lmopt.config.models import StudentConfig, TeacherConfig
from lmopt.config.task import TaskConfig
from lmopt.methods.base import Search
from lmopt.methods.own import recipe_type_of
from lmopt.methods.recipe import Recipe
from lmopt.runtimes.config import RuntimeConfig
from lmopt.runtimes.registry import refusal, runtime_named
from lmopt.tasks.registry import TASKS, task_of
from sweeps.definition.errors import ConfigError, explain, suggest
from sweeps.definition.objectives import (
    CONSTRAINABLE,
    OBJECTIVES,
    Direction,
    constrainable_of,
    default_objectives,
    objectives_of,
)
from sweeps.definition.reading import read_yaml
from sweeps.definition.space import Categorical, Distribution, Float, Int, probes

STORAGE_SCHEMES = ("postgresql", "mysql", "sqlite")


class Bound(Config):
    """Limits on a measured value; a trial outside them is infeasible for the sampler."""

    min: FiniteFloat | None = None
    max: FiniteFloat | None = None

    @model_validator(mode="after")
    def _check(self) -> "Bound":
        if self.min is None and self.max is None:
            raise ValueError("a constraint needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min must not be above max, got min {self.min:g}, max {self.max:g}")
        return self


class StudyConfig(Config):
    """How the space is searched."""

    trials: int = Field(default=28, ge=1, description="Budget in all, reference points included.")
    sampler: Literal["tpe", "random", "gp", "nsga2"] = "tpe"
    seed: int = Field(default=0, ge=0)
    max_failures: int | None = Field(
        default=5,
        ge=1,
        description="So many trials in a row that fail stop the run; null: they never do.",
    )
    storage: str | None = Field(
        default=None,
        description="Optuna RDB URL, e.g. postgresql://user@host/lmopt; default: a journal file.",
    )

    @field_validator("storage")
    @classmethod
    def _check_storage(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(STORAGE_SCHEMES):
            raise ValueError(
                f"must be a database URL ({', '.join(STORAGE_SCHEMES)}) or left out "
                f"for the journal file in the run directory, got {value!r}"
            )
        return value


class Resources(Config):
    """How wide the sweep runs; what one job asks for is in the cluster profile."""

    workers: int = Field(default=2, ge=1, description="Workers at once, at most.")
    spare_disk_gb: float = Field(
        default=20.0,
        ge=0,
        description="Trained models that no kept artifact needs, at most; the oldest go first.",
    )


# Editors complete the fields of a recipe wherever some of them may be given.
_RECIPE_FIELDS = {
    "properties": Recipe.model_json_schema()["properties"],
    "additionalProperties": False,
}
_SEEDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_ONE_OR_MORE = {"anyOf": [_RECIPE_FIELDS["properties"]["seed"], _SEEDS]}
_AsRecipe = WithJsonSchema(
    {
        "type": "object",
        "properties": {**_RECIPE_FIELDS["properties"], "seed": _ONE_OR_MORE},
        "additionalProperties": False,
    }
)


def _known_task(task: TaskConfig) -> TaskConfig:
    known = [known.kind for known in TASKS]
    if task.kind not in known:
        raise ValueError(f"kind must be one of {', '.join(known)}, got {task.kind!r}")
    return task


class SweepConfig(Config):
    """A whole sweep."""

    name: str = Field(description="The run directory is called so.")
    task: Annotated[TaskConfig, AfterValidator(_known_task)] = Field(
        json_schema_extra={"properties": {"kind": {"enum": [task.kind for task in TASKS]}}}
    )
    teacher: TeacherConfig
    student: StudentConfig = StudentConfig()
    methods: list[str] = Field(
        default_factory=list,
        description="Files beside the definition, each with a method of one's own "
        "(docs/own-method.md); their code runs wherever the definition is read.",
    )
    recipe: dict[str, Any] = Field(
        default_factory=dict,
        description="Fixed settings of every trial; any field of a recipe.",
        json_schema_extra=_RECIPE_FIELDS,
    )
    search: dict[str, Distribution] = Field(
        min_length=1,
        description="What the sampler varies; any field of a recipe.",
        json_schema_extra={"propertyNames": {"enum": list(Recipe.model_fields)}},
    )
    reference_points: dict[str, Annotated[dict[str, Any], _AsRecipe]] | None = Field(
        default=None,
        description="Named recipes that run first, each with its seed or a list of them; default: "
        "each method alone.",
    )
    objectives: dict[str, Direction] = Field(
        default=default_objectives(TASKS[0]),
        min_length=1,
        json_schema_extra={"propertyNames": {"enum": list(OBJECTIVES)}},
    )
    constraints: dict[str, Bound] = Field(
        default_factory=dict,
        description="Limits on measured values; outside them a trial is infeasible.",
        json_schema_extra={"propertyNames": {"enum": list(CONSTRAINABLE)}},
    )
    study: StudyConfig = StudyConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    resources: Resources = Resources()
    report: Literal["page", "tables"] = Field(
        default="page",
        description="What the finalizer leaves in report/: the notebooks as one page (a minute of "
        "work), or the tables and the figure alone; `lmopt report` makes the page at any time.",
    )

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
            raise ValueError(f"must be letters, digits, dots, dashes or underscores, got {value!r}")
        return value

    _recipe_type: type[Recipe] = PrivateAttr(Recipe)

    @property
    def recipe_type(self) -> type[Recipe]:
        """The recipe with lmopt's methods and those of the definition's own files."""
        return self._recipe_type

    @model_validator(mode="before")
    @classmethod
    def _objectives_of_another_task(cls, data: Any) -> Any:
        """Give a task that is not the default one its own objectives where none are given."""
        given = data.get("task") if isinstance(data, dict) else None
        kind = given.get("kind") if isinstance(given, dict) else None
        for task in TASKS[1:]:
            if task.kind == kind and "objectives" not in data:
                return {**data, "objectives": default_objectives(task)}
        return data

    @model_validator(mode="after")
    def _check(self) -> "SweepConfig":
        self._recipe_type = recipe_type_of(self.methods)
        objectives = objectives_of(task_of(self.task.kind))
        _known("objectives", self.objectives, objectives)
        _known("constraints", self.constraints, constrainable_of(task_of(self.task.kind)))
        _known("recipe", self.recipe, self.recipe_type.model_fields)
        _known("search", self.search, self.recipe_type.model_fields)
        for name, bound in self.constraints.items():
            _check_unit(name, bound)
        for name, direction in self.objectives.items():
            if direction != objectives[name]:
                raise ValueError(f"objectives.{name}: the better direction is {objectives[name]}")
        if twice := sorted(set(self.recipe) & set(self.search)):
            raise ValueError(f"recipe.{twice[0]}: given under search as well; keep one of them")
        self._check_values()
        self._check_effect()
        if self.study.trials < len(self.references()):
            raise ValueError(
                f"study.trials must hold the {len(self.references())} reference points "
                f"({', '.join(self.references())}), got {self.study.trials}: raise it, or name "
                "fewer under reference_points"
            )
        return self

    def _check_effect(self) -> None:
        """Refuse to search what cannot matter: every trial of it would be wasted."""
        lessons = set(self.recipe_type.epoch_fields()) - {"pretrain_epochs"}  # that has no logits
        trained = any(name in self.search or self.recipe.get(name, 0) for name in lessons)
        for name in ("temperature", "alpha"):
            if name in self.search and not trained:
                raise ValueError(
                    f"search.{name} has no effect while nothing is trained: set recipe.epochs"
                )

    def _check_values(self) -> None:
        base = self._recipe("recipe", self.recipe)
        self._refuse("recipe", self.recipe, base)
        for name, distribution in self.search.items():
            for value in probes(distribution):
                recipe = self._recipe("search", {**base.model_dump(), name: value})
                self._refuse("search", self.search, recipe)
        for name, overrides in _each_seed(self.reference_points or {}).items():
            _known(f"reference_points.{name}", overrides, self.recipe_type.model_fields)
            recipe = self._recipe(f"reference_points.{name}", {**base.model_dump(), **overrides})
            self._refuse(f"reference_points.{name}", overrides, recipe)

    def _recipe(self, where: str, values: Mapping[str, Any]) -> Recipe:
        try:
            return self.recipe_type(**values)
        except ValidationError as error:
            lines = explain(error, self.recipe_type)
            raise ValueError("; ".join(f"{where}.{line}" for line in lines)) from None

    def _refuse(self, where: str, given: Mapping[str, Any], recipe: Recipe) -> None:
        """Say now, under the key that asks for it, what the runtime will not be able to store."""
        if reason := refusal(self.runtime.name, recipe):
            here = reason.split()[0] in given
            raise ValueError(f"{where if here else 'recipe'}.{reason}")

    def make_recipe(self, params: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a point of the space."""
        base = "teacher" if self.student.model is None else "student"
        return self.recipe_type(**{"base": base, **self.recipe, **params}).canonical()

    def asks_for(self, field: str) -> bool:
        """Whether any trial may have a field of the recipe that is not zero."""
        places = [self.search, self.recipe, *(self.reference_points or {}).values()]
        return any(bool(place.get(field)) for place in places)

    def with_trials(self, trials: int) -> "SweepConfig":
        """Return the same sweep with another budget."""
        data = self.model_dump(mode="json", exclude_unset=True)
        data["study"] = {**data.get("study", {}), "trials": trials}
        return parse_sweep(data, source="--trials")

    def references(self) -> dict[str, Recipe]:
        """Return the reference points by name: the teacher as it is, then each method alone."""
        if self.reference_points is not None:
            chosen = _each_seed(self.reference_points)
        else:
            chosen = default_reference_points(self)
        points: dict[str, Recipe] = {}
        for name, overrides in chosen.items():
            recipe = self.make_recipe(overrides)
            if all(recipe.key() != point.key() for point in points.values()):
                points[name] = recipe  # without training, "distillation" would be the baseline
        return points


def _each_seed(points: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the points with a list of seeds as one point a seed; the first has the name alone."""
    found = {}
    for name, overrides in points.items():
        seeds = overrides.get("seed")
        for number, seed in enumerate(seeds if isinstance(seeds, list) and seeds else [seeds]):
            own = overrides if seed is None else {**overrides, "seed": seed}
            found[name if number == 0 else f"{name} (seed {seed})"] = own
    return found


def default_reference_points(sweep: SweepConfig) -> dict[str, dict[str, Any]]:
    """Return the teacher as it is and each method alone, as far as this sweep varies them."""
    untouched = sweep.recipe_type.untouched()
    middle = {name: _middle(distribution) for name, distribution in sweep.search.items()}
    search = Search(middle, runtime_named(sweep.runtime.name).bits)
    points: dict[str, dict[str, Any]] = {"baseline": untouched}
    for method in sweep.recipe_type.methods:
        alone = method.reference(untouched, search)
        if method.reference_name is not None and alone is not None:
            points[method.reference_name] = alone
    return points


def _middle(distribution: Float | Int | Categorical) -> Any:
    if isinstance(distribution, Categorical):
        return distribution.choices[len(distribution.choices) // 2]
    return (distribution.low + distribution.high) // 2


def load_sweep(path: Path | str) -> SweepConfig:
    """Read and check a sweep definition.

    Raises:
        ConfigError: One line per mistake: the key's path, the rule, the remedy.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"no sweep definition at {path}: name an existing YAML file")
    try:
        data = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold keys and values such as 'name: my_sweep'")
    if isinstance(data.get("methods"), list):  # They lie beside the definition.
        data["methods"] = [str(path.parent.resolve() / str(file)) for file in data["methods"]]
    return parse_sweep(data, source=str(path))


def parse_sweep(data: Mapping[str, Any], *, source: str) -> SweepConfig:
    """Check a sweep definition that was read already; `source` is named in the errors."""
    try:
        return SweepConfig.model_validate(data)
    except ValidationError as error:
        lines = [f"{line} ({source})" for line in explain(error, SweepConfig)]
        raise ConfigError("\n".join(lines)) from None


def _check_unit(name: str, bound: Bound) -> None:
    """Refuse a limit that no value can be compared with."""
    for end, value in bound.model_dump(exclude_none=True).items():
        if unit_of(name) in ("share", "difference of shares") and not -1 <= value <= 1:
            raise ValueError(
                f"constraints.{name}.{end} must be a share in [0, 1], got {value:g}: "
                f"write {value / 100:g} for {value:g} %"
            )


def _known(
    where: str, given: Mapping[str, Any], known: Mapping[str, Any] | tuple[str, ...]
) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"unknown key {where}.{name}{suggest(name, list(known))}")
