"""A small sweep and a fresh run directory of it."""

import copy
from pathlib import Path
from typing import Any

import pytest

from slurm.profile import load_profile
from sweeps.config import parse_sweep
from sweeps.run import Run, create_run
from tests.sweeps.small_run import DEFINITION


@pytest.fixture
def definition() -> dict[str, Any]:
    """A valid sweep definition to change at will."""
    return copy.deepcopy(DEFINITION)


@pytest.fixture
def run(tmp_path: Path, definition: dict[str, Any]) -> Run:
    """A fresh run directory."""
    sweep = parse_sweep(definition, source="test")
    return create_run(tmp_path / "run", sweep, load_profile("local"), tmp_path / "cache", {})
