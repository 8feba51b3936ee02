"""The run directory: everything that a sweep leaves, and the small files that hold it together."""

import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from slurm.profile import Profile, load_profile
from sweeps.definition.errors import ConfigError
from sweeps.definition.sweep import SweepConfig, load_sweep
from sweeps.run.files import quoted, write_json
from sweeps.run.locks import locked

GROWTH_REFUSED = "growth.refused"  # there once Slurm would not take a job grown by `retries`


@dataclass(frozen=True)
class Run:
    """One run directory with its frozen definition. `trials` is the budget in all.

    `study_name` names the study in a database, which other runs may share.
    """

    path: Path
    sweep: SweepConfig
    profile: Profile
    cache: Path
    trials: int
    study_name: str

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def rows(self) -> Path:
        return self.path / "trials"

    @property
    def claims(self) -> Path:
        return self.path / "claims"

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    @property
    def progress(self) -> Path:
        return self.path / "progress"

    @property
    def journal(self) -> Path:
        return self.path / "study.journal"

    def row_path(self, number: int, attempt: int) -> Path:
        """Return where the row of an attempt belongs."""
        return self.rows / f"{number:06d}-{attempt:02d}.parquet"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for a few milliseconds; the kernel frees it when the holder dies."""
        with locked(self.path / "study.lock", 600):
            yield


def create_run(
    path: Path, sweep: SweepConfig, profile: Profile, cache: Path, provenance: Mapping[str, Any]
) -> Run:
    """Make a run directory and freeze the definition in it.

    Raises:
        ConfigError: The directory exists already, or cannot be written.
    """
    if path.exists():
        raise _exists(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made whole under another name first: nobody ever sees half a run directory.
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as made:
            root = Path(made) / "run"
            for folder in ("trials", "claims", "jobs", "progress"):
                (root / folder).mkdir(parents=True)
            data = with_absolute_paths(sweep)
            data["methods"] = _freeze_methods(sweep.methods, root)
            _write_yaml(root / "sweep.yaml", data)
            _write_yaml(root / "profile.yaml", profile.model_dump(mode="json", exclude_unset=True))
            write_json(root / "provenance.json", dict(provenance))
            state = {
                "cache": str(cache.resolve()),
                "trials": sweep.study.trials,
                "study_name": f"{path.name}-{secrets.token_hex(4)}",
            }
            write_json(root / "run.json", state)
            root.rename(path)
    except OSError as error:
        if path.exists():  # somebody else was a moment faster
            raise _exists(path) from None
        raise ConfigError(f"cannot make {path}: {error.strerror}; choose --run-dir") from None
    return open_run(path)


def _freeze_methods(files: list[str], root: Path) -> list[str]:
    """Copy the files of a researcher's own methods into the run; return their new names."""
    names = [f"methods/{Path(file).name}" for file in files]
    if len(set(names)) < len(names):
        raise ConfigError(f"methods: two files have one name ({', '.join(names)}); rename one")
    for file, name in zip(files, names, strict=True):
        (root / "methods").mkdir(exist_ok=True)
        shutil.copyfile(file, root / name)
    return names


def _exists(path: Path) -> ConfigError:
    if (path / "sweep.yaml").exists():
        words = f"{path} exists: continue it with 'lmopt resume {quoted(path)}', or choose"
    else:
        words = f"{path} exists and is no run directory: choose"
    return ConfigError(f"{words} another directory with --run-dir")


def open_run(path: Path | str) -> Run:
    """Open an existing run directory.

    Raises:
        ConfigError: It is no run directory, or one of its files is damaged.
    """
    path = Path(path)
    if not (path / "run.json").is_file():
        known = sorted(str(p.parent) for p in path.glob("*/run.json"))
        hint = f"; did you mean {known[0]}?" if known else ""
        raise ConfigError(f"{path} is not a run directory (no run.json in it){hint}")
    try:
        state = json.loads((path / "run.json").read_text())
    except ValueError as error:
        raise ConfigError(f"{path / 'run.json'} is damaged: {error}") from None
    sweep = load_sweep(path / "sweep.yaml")
    profile = load_profile(path / "profile.yaml")
    if (path / GROWTH_REFUSED).exists():
        profile = profile.without_growth()
    return Run(
        path=path.resolve(),
        sweep=sweep,
        profile=profile,
        cache=Path(state["cache"]),
        trials=state["trials"],
        study_name=state["study_name"],
    )


def without_growth(run: Run) -> Run:
    """Ask for no more, from now on and in every job of the run, than the profile itself says."""
    (run.path / GROWTH_REFUSED).touch()
    return replace(run, profile=run.profile.without_growth())


def set_budget(run: Run, trials: int) -> Run:
    """Change the total number of trials of a run."""
    state = json.loads((run.path / "run.json").read_text())
    write_json(run.path / "run.json", {**state, "trials": trials})
    return replace(run, trials=trials)


def budget(run: Run) -> int:
    """Return the total number of trials as it is now: `resume` changes it while jobs work."""
    trials: int = json.loads((run.path / "run.json").read_text())["trials"]
    return trials


def with_absolute_paths(sweep: SweepConfig) -> dict[str, Any]:
    """Return a definition that means the same data and models from any working directory.

    What it leaves to defaults is written out, since they may change; its recipes are as given.
    """
    data = sweep.model_dump(mode="json")
    task = data["task"]
    places = [(task, "dataset"), (task.get("unlabelled") or {}, "dataset")]
    places += [(data[section], "model") for section in ("teacher", "student")]
    for section, key in places:
        place = section.get(key)
        if place is not None and Path(place).expanduser().exists():
            section[key] = str(Path(place).expanduser().resolve())
    return data


def _write_yaml(path: Path, value: Any) -> None:
    path.write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), encoding="utf-8")
