"""The definition of a sweep: one YAML file, checked whole before anything runs."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from lmopt.config.models import StudentConfig, TeacherConfig
from lmopt.config.recipe import COMPRESSION_FIELDS, DISTILL_FIELDS, EPOCHS, Recipe
from lmopt.config.task import TaskConfig
from lmopt.runtimes.config import RuntimeConfig
from lmopt.runtimes.registry import refusal, runtime_named
from sweeps.definition.errors import ConfigError, explain, suggest
from sweeps.definition.space import Categorical, Distribution, Float, Int, probes

Direction = Literal["maximize", "minimize"]
# What a trial can be judged by: columns of its row that the search may see (never the test split).
OBJECTIVES: dict[str, Direction] = {
    "accuracy_validation": "maximize",
    "macro_f1_validation": "maximize",
    "size_bytes": "minimize",
    "folder_bytes": "minimize",
    "parameters": "minimize",
    "latency_b1_p50_ms": "minimize",
    "latency_b32_p50_ms": "minimize",
    "speedup_b1": "maximize",
    "speedup_b32": "maximize",
}
CONSTRAINABLE = (*OBJECTIVES, "accuracy_drop_validation", "size_ratio")
STORAGE_SCHEMES = ("postgresql", "mysql", "sqlite")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bound(_Strict):
    """Limits on a measured value; a trial outside them is infeasible for the sampler."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _check(self) -> "Bound":
        if self.min is None and self.max is None:
            raise ValueError("a constraint needs min, max or both")
        return self


class StudyConfig(_Strict):
    """How the space is searched."""

    trials: int = Field(default=28, ge=1, description="Budget in all, reference points included.")
    sampler: Literal["tpe", "random", "gp", "nsga2"] = "tpe"
    seed: int = Field(default=0, ge=0)
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


class Resources(_Strict):
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


class SweepConfig(_Strict):
    """A whole sweep."""

    name: str = Field(description="The run directory is called so.")
    task: TaskConfig
    teacher: TeacherConfig
    student: StudentConfig = StudentConfig()
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
        default={
            "accuracy_validation": "maximize",
            "size_bytes": "minimize",
            "speedup_b1": "maximize",
        },
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

    @model_validator(mode="after")
    def _check(self) -> "SweepConfig":
        _known("objectives", self.objectives, OBJECTIVES)
        _known("constraints", self.constraints, CONSTRAINABLE)
        _known("recipe", self.recipe, Recipe.model_fields)
        _known("search", self.search, Recipe.model_fields)
        for name, direction in self.objectives.items():
            if direction != OBJECTIVES[name]:
                raise ValueError(f"objectives.{name}: the better direction is {OBJECTIVES[name]}")
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
        lessons = set(EPOCHS) - {"pretrain_epochs"}  # that one has no logits
        trained = any(name in self.search or self.recipe.get(name, 0) for name in lessons)
        for name in ("temperature", "alpha"):
            if name in self.search and not trained:
                raise ValueError(
                    f"search.{name} has no effect while nothing is trained: set recipe.epochs"
                )

    def _check_values(self) -> None:
        base = _recipe("recipe", self.recipe)
        self._refuse("recipe", self.recipe, base)
        for name, distribution in self.search.items():
            for value in probes(distribution):
                recipe = _recipe("search", {**base.model_dump(), name: value})
                self._refuse("search", self.search, recipe)
        for name, overrides in _each_seed(self.reference_points or {}).items():
            _known(f"reference_points.{name}", overrides, Recipe.model_fields)
            recipe = _recipe(f"reference_points.{name}", {**base.model_dump(), **overrides})
            self._refuse(f"reference_points.{name}", overrides, recipe)

    def _refuse(self, where: str, given: Mapping[str, Any], recipe: Recipe) -> None:
        """Say now, under the key that asks for it, what the runtime will not be able to store."""
        if reason := refusal(self.runtime.name, recipe):
            here = reason.split()[0] in given
            raise ValueError(f"{where if here else 'recipe'}.{reason}")

    def make_recipe(self, params: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a point of the space."""
        base = "teacher" if self.student.model is None else "student"
        return Recipe(**{"base": base, **self.recipe, **params}).canonical()

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
    nothing = {name: Recipe.model_fields[name].default for name in COMPRESSION_FIELDS}
    points: dict[str, dict[str, Any]] = {"baseline": nothing}
    taught = ("base", "pretrain_epochs", "epochs", *DISTILL_FIELDS)
    distillation = {name: value for name, value in nothing.items() if name not in taught}
    if "layers" in sweep.search:
        distillation["layers"] = _middle(sweep.search["layers"])
    points["distillation"] = distillation
    # One setting of each stands for it: the research's own or the usual one.
    if sweep.search.keys() & {"ffn_keep", "heads_keep"}:
        points["pruning"] = {**nothing, "ffn_keep": 0.5, "structure_epochs": 1}
    else:
        points["pruning"] = {**nothing, "sparsity": 0.5, "alpha": 0.0}
    if "clusters" in sweep.search:
        points["clustering"] = {**nothing, "clusters": 16}
    bits = 8 if 8 in runtime_named(sweep.runtime.name).bits else 16
    points["quantization"] = {**nothing, "bits": bits}
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
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold keys and values such as 'name: my_sweep'")
    return parse_sweep(data, source=str(path))


def parse_sweep(data: Mapping[str, Any], *, source: str) -> SweepConfig:
    """Check a sweep definition that was read already; `source` is named in the errors."""
    try:
        return SweepConfig.model_validate(data)
    except ValidationError as error:
        lines = [f"{line} ({source})" for line in explain(error, SweepConfig)]
        raise ConfigError("\n".join(lines)) from None


def _known(
    where: str, given: Mapping[str, Any], known: Mapping[str, Any] | tuple[str, ...]
) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"unknown key {where}.{name}{suggest(name, list(known))}")


def _recipe(where: str, values: Mapping[str, Any]) -> Recipe:
    try:
        return Recipe(**values)
    except ValidationError as error:
        raise ValueError("; ".join(f"{where}.{line}" for line in explain(error, Recipe))) from None
