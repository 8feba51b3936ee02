"""A small sweep and a fresh run directory of it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from slurm.profile import load_profile
from sweeps.definition.sweep import parse_sweep
from sweeps.run.directory import Run, create_run, open_run
from tests.made_once import made_once
from tests.sweeps.command import lmopt_process
from tests.sweeps.small_run import DEFINITION, tiny_definition


@pytest.fixture
def definition() -> dict[str, Any]:
    """A valid sweep definition to change at will."""
    return copy.deepcopy(DEFINITION)


@pytest.fixture
def run(tmp_path: Path, definition: dict[str, Any]) -> Run:
    """A fresh run directory."""
    sweep = parse_sweep(definition, source="test")
    return create_run(tmp_path / "run", sweep, load_profile("local"), tmp_path / "cache", {})


@pytest.fixture(scope="session")
def finished_run(
    tmp_path_factory: pytest.TempPathFactory,
    csv_file: Path,
    teacher_folder: Path,
    student_folder: Path,
) -> Run:
    """A tiny sweep of real models, run to its end as a user does. Tests must not change it."""

    def make(folder: Path) -> None:
        definition = tiny_definition(csv_file, teacher_folder, student_folder)
        (folder / "tiny.yaml").write_text(yaml.safe_dump(definition))
        done = lmopt_process("submit", "tiny.yaml", "--wait", cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr

    return open_run(made_once(tmp_path_factory, "home", make) / "runs" / "tiny")
