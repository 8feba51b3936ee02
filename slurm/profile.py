"""Cluster profiles: where and with what resources the jobs of a sweep run.

A profile is a YAML file; `slurm/profiles/` has commented examples. Its top level holds the
resources of every job; the sections `prepare`, `worker`, `measure` and `finalize` override single
keys for that kind of job.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from slurm.durations import Minutes, PlainLoader
from slurm.errors import UserError

Kind = Literal["prepare", "worker", "measure", "finalize"]
# When a job may start, after those that it depends on: their success, their end, their failure.
Dependency = Literal["afterok", "afterany", "afternotok"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# What a finalizer and its guard ask for where the profile does not say. They wait up to 20 minutes
# for an answer of Slurm, and as long for it to take a job; a finalizer also times and reports.
FINALIZE_MIN, GUARD_MIN = 120, 45
_MEMORY_OPTIONS = ("mem", "mem-per-cpu", "mem-per-gpu")
_BUILT_IN = Path(__file__).parent / "profiles"
# YAML reads `exclude: 17` or `OMP_NUM_THREADS: 1` as numbers: what Slurm and the shell see is text.
_Text = Annotated[str, Field(coerce_numbers_to_str=True, pattern=r"^[^\n]*$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ProfileError(UserError):
    """A profile that cannot be used; the message is one line with value, rule and remedy."""


class JobResources(_Model):
    """What one job asks for. Without a value the cluster's own default holds."""

    partition: _Text | None = None
    account: _Text | None = None
    qos: _Text | None = None
    time_min: Annotated[Minutes, Field(ge=1)] | None = Field(
        default=None,
        description="minutes, or as Slurm writes them: 4:00:00; needed on Slurm, no limit on local",
    )
    cpus: int = Field(default=1, ge=1, description="cores; a local job is pinned to its own")
    mem_gb: float | None = Field(default=None, gt=0)
    gpus: int = Field(default=0, ge=0, description="GPUs per node")
    gres: _Text | None = None
    constraint: _Text | None = None
    exclude: _Text | None = Field(default=None, description="nodes to avoid, as in n1,n[4-7]")
    nodes: int = Field(default=1, ge=1)
    array_parallelism: int = Field(default=256, ge=1, description="array tasks running at once")
    setup: list[str] = Field(default=[], description="shell lines before the job")
    teardown: list[str] = Field(default=[], description="shell lines after it, unless it is killed")
    environment: dict[str, _Text] = {}
    requeue: bool = Field(default=True, description="again after preemption or node failure")
    timeout_requeues: int = Field(
        default=0, ge=0, description="times it requeues itself near its time limit"
    )
    signal_delay_s: int = Field(default=60, ge=1, description="warning before the time limit")
    wckey: _Text | None = None
    sbatch: dict[str, bool | _Text] = Field(default={}, description="further sbatch parameters")

    @field_validator("environment")
    @classmethod
    def _names_are_variables(cls, environment: dict[str, str]) -> dict[str, str]:
        for name in environment:
            if not name.isidentifier():
                raise ValueError(f"{name!r} is not the name of an environment variable")
        return environment


class Retries(_Model):
    """How often one trial is tried again, by what ended its job, and with how much more."""

    out_of_memory: int = Field(default=2, ge=0)
    timeout: int = Field(default=2, ge=0)
    node_fail: int = Field(default=3, ge=0)
    preempted: int = Field(default=10, ge=0)
    lost: int = Field(default=2, ge=0, description="killed without a trace, by kill -9 for one")
    place: int = Field(default=3, ge=0, description="trouble of the node, the disk or the network")
    out_of_gpu_memory: int = Field(default=1, ge=0, description="never with more of mem_gb")
    memory_growth: float = Field(default=1.5, ge=1)
    time_growth: float = Field(default=2.0, ge=1)
    max_mem_gb: float | None = Field(default=None, gt=0)
    max_time_min: Annotated[Minutes, Field(ge=1)] | None = None


class Profile(JobResources):
    """A cluster as a sweep sees it; `job(kind)` gives the resources of one kind of job."""

    name: str = ""
    scheduler: Literal["slurm", "local"]
    max_array_size: int | None = Field(
        default=None, ge=1, description="None: ask `scontrol show config`"
    )
    trials_per_job: int | None = Field(
        default=None, ge=1, description="None: until the time runs out"
    )
    retries: Retries = Retries()
    prepare: JobResources = JobResources()
    worker: JobResources = JobResources()
    measure: JobResources = JobResources()
    finalize: JobResources = JobResources()

    @model_validator(mode="after")
    def _slurm_needs_a_time_limit(self) -> Self:
        for kind in KINDS:
            if self.scheduler == "slurm" and self.job(kind).time_min is None:
                raise ValueError(
                    f"time_min is needed on Slurm, got none for {kind}: add time_min: 60"
                )
        return self

    @model_validator(mode="after")
    def _memory_can_grow(self) -> Self:
        """Refuse memory that only sbatch knows of: nothing would grow after out of memory."""
        for kind in KINDS:
            resources = self.job(kind)
            for option, value in resources.sbatch.items():
                if option.replace("_", "-") not in _MEMORY_OPTIONS or value is False:
                    continue
                if resources.mem_gb is not None:
                    raise ValueError(
                        f"sbatch.{option} and mem_gb both say the memory of a {kind} job, got"
                        f" {value!r} and {resources.mem_gb:g}: keep mem_gb"
                    )
                if self.retries.memory_growth > 1:
                    raise ValueError(
                        f"sbatch.{option} cannot grow after out of memory, got {value!r} for"
                        f" {kind}: give mem_gb, of the whole job, or retries: {{memory_growth: 1}}"
                    )
        return self

    def job(
        self, kind: Kind, *, out_of_memory: int = 0, timeouts: int = 0, exclude: Iterable[str] = ()
    ) -> JobResources:
        """Resources of a job, grown for each time that its trial already ran out of memory or time.

        `exclude` names failed nodes to stay away from. `environment` and `sbatch` of the kind's
        section are added to the profile's; every other key of the section replaces it. A finalizer
        whose section gives no `time_min` asks for no more than FINALIZE_MIN of the workers' time.
        """
        section: JobResources = getattr(self, kind)
        merged = {field: getattr(self, field) for field in JobResources.model_fields}
        for field in section.model_fields_set:
            value = getattr(section, field)
            merged[field] = merged[field] | value if isinstance(value, dict) else value
        if kind == "finalize" and "time_min" not in section.model_fields_set and merged["time_min"]:
            merged["time_min"] = min(merged["time_min"], FINALIZE_MIN)
        limits = self.retries
        if merged["mem_gb"] is not None and out_of_memory:
            grown = merged["mem_gb"] * limits.memory_growth**out_of_memory
            merged["mem_gb"] = max(merged["mem_gb"], min(grown, limits.max_mem_gb or grown))
        if merged["time_min"] is not None and timeouts:
            grown_min = round(merged["time_min"] * limits.time_growth**timeouts)
            merged["time_min"] = max(
                merged["time_min"], min(grown_min, limits.max_time_min or grown_min)
            )
        nodes = [merged["exclude"]] if merged["exclude"] else []
        merged["exclude"] = ",".join([*nodes, *sorted(set(exclude))]) or None
        return JobResources(**merged)

    def guard(self) -> JobResources:
        """Resources of the job behind a finalizer: it waits for Slurm to answer, and submits."""
        resources = self.job("finalize")
        time_min = resources.time_min and min(resources.time_min, GUARD_MIN)
        return resources.model_copy(update={"time_min": time_min, "cpus": 1, "nodes": 1})

    def without_growth(self) -> Self:
        """The profile of a cluster that gives no job more than it is asked for here."""
        retries = self.retries.model_copy(update={"memory_growth": 1.0, "time_growth": 1.0})
        return self.model_copy(update={"retries": retries})

    def to_yaml(self) -> str:
        """What `load_profile` reads back: only the keys that were given."""
        return yaml.safe_dump(self.model_dump(exclude_unset=True), sort_keys=False)


def load_profile(name_or_path: str | Path) -> Profile:
    """Read a profile from a YAML file, or one of `slurm/profiles/` by its bare name ("local").

    Raises ProfileError for a missing file, an unknown key or a value out of range.
    """
    path = Path(name_or_path).expanduser()
    if not path.is_file() and path.name == str(name_or_path):
        path = _BUILT_IN / f"{path.name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in _BUILT_IN.glob("*.yaml")))
        raise ProfileError(f"no profile {name_or_path}: give a YAML file or one of {known}")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), PlainLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ProfileError(f"{path} must hold keys and values such as `scheduler: slurm`")
    try:
        return Profile.model_validate({"name": path.stem} | values)
    except ValidationError as error:
        problems = "; ".join(_problem(problem) for problem in error.errors())
        raise ProfileError(f"{problems} (in {path})") from None


def _problem(problem: Any) -> str:
    *sections, key = problem["loc"] or ("",)
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        model = {"retries": Retries}.get(sections[0], JobResources) if sections else Profile
        nearest = difflib.get_close_matches(str(key), model.model_fields, n=1, cutoff=0.0)
        return f"unknown key {where}: did you mean {nearest[0]}?"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if problem["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {message}, got {problem['input']!r}" if where else message
