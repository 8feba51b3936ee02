"""A small sweep and a fresh run directory of it."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from slurm.profile import load_profile
from sweeps.definition.sweep import parse_sweep
from sweeps.run.directory import Run, create_run, open_run
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
    folder: Path = tmp_path_factory.mktemp("home")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_definition(csv_file, teacher_folder, student_folder)))
    command = [sys.executable, "-P", "-m", "sweeps.cli", "submit", "tiny.yaml", "--wait"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return open_run(folder / "runs" / "tiny")
