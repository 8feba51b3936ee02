"""The package as users install it: a wheel in an environment of its own, far from the checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.sweeps.small_run import tiny_definition

ROOT = Path(__file__).parents[1]
PACKAGES = ("analysis", "lmopt", "slurm", "sweeps")

pytestmark = pytest.mark.slow


def tracked() -> list[Path]:
    """Return the project's files, relative to its root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return [Path(name) for name in listed if (ROOT / name).exists()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a clean copy of the tree, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    for path in tracked():
        (folder / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / "tree" / path)
    pip(["wheel", "--no-build-isolation", "--wheel-dir", folder, folder / "tree"])
    (found,) = folder.glob("lmopt-*.whl")
    return found


def pip(arguments: list[object], python: Path | None = None) -> None:
    """Run pip for an interpreter, without the network and without what the package depends on."""
    command, *rest = arguments
    where = ["--python", str(python)] if python else []
    done = subprocess.run(
        [sys.executable, "-m", "pip", *where, command, "--no-deps", "--no-index", *map(str, rest)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; it sees the other packages of the tests, not the checkout."""
    folder = tmp_path_factory.mktemp("installed") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip(["install", wheel], python=folder / "bin" / "python")
    (packages,) = (folder / "lib").glob("python*/site-packages")
    # A folder that a .pth file names is searched, but the .pth files in it are not read: the
    # editable install of this project is one of those.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    templates = folder / "share" / "jupyter"  # nbconvert looks for them below sys.prefix
    templates.parent.mkdir(exist_ok=True)
    templates.symlink_to(Path(sys.prefix, "share", "jupyter"))
    return folder


def lmopt(environment: Path, cwd: Path, *arguments: object) -> str:
    """Run the installed command in a user's folder and return what it printed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [environment / "bin" / "lmopt", *map(str, arguments)], cwd=cwd, timeout=500,
        capture_output=True, text=True, env=kept | {"COLUMNS": "80", "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    ours = {path.as_posix() for path in tracked() if path.parts[0] in PACKAGES}
    assert names == ours
    assert {Path(name).suffix for name in names} >= {".py", ".yaml", ".json", ".j2", ".ipynb"}


def test_an_installed_lmopt_takes_a_sweep_from_its_definition_to_a_model(
    environment: Path, tmp_path: Path, csv_file: Path, teacher_folder: Path, student_folder: Path
) -> None:
    code = f"import {', '.join(PACKAGES)}\nprint(*(p.__file__ for p in ({', '.join(PACKAGES)})))"
    said = subprocess.run(
        [environment / "bin" / "python", "-P", "-c", code], cwd=tmp_path,
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert all(Path(path).is_relative_to(environment) for path in said.split())
    definition: dict[str, Any] = tiny_definition(csv_file, teacher_folder, student_folder)
    definition["teacher"]["epochs"] = 3
    definition["recipe"]["epochs"] = 2
    del definition["reference_points"]["quantization"]
    definition["study"]["trials"] = 2
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(definition))
    assert "2 trials" in lmopt(environment, tmp_path, "check", "tiny.yaml")
    assert "2/2 trials" in lmopt(environment, tmp_path, "submit", "tiny.yaml", "--wait")
    found = json.loads(lmopt(environment, tmp_path, "report", "runs/tiny", "--json"))
    assert found["failures"] == {} and Path(found["page"]).stat().st_size > 0
    said = lmopt(environment, tmp_path, "export", "runs/tiny", "winner")
    assert "checked in a fresh process" in said and (tmp_path / "winner" / "usage.py").exists()
