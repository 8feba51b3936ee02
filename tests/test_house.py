"""The house: pinned versions, environments in step, living links, lean notebooks, light imports."""

import re
import subprocess
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[1]
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()
]  # fmt: skip
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = [("sweeps",), ("lmopt",), ("slurm",), ("analysis",)]
LINK = re.compile(r"\]\(([^)#\s]+)")


def pinned() -> dict[str, Version]:
    """Return the versions of constraints.txt by normalized name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name: Version(version) for name, version in pairs}


def requirements() -> list[Requirement]:
    """Return everything that pyproject.toml asks for, extras too."""
    texts = [*PROJECT["dependencies"]]
    texts += [text for extra in PROJECT["optional-dependencies"].values() for text in extra]
    return [Requirement(text) for text in texts if not text.startswith("lmopt")]


def test_every_requirement_is_pinned_to_a_version_that_it_allows() -> None:
    versions = pinned()
    for requirement in requirements():
        assert requirement.name.lower() in versions, f"{requirement} is not in constraints.txt"
        version = versions[requirement.name.lower()]
        assert requirement.specifier.contains(version), f"{requirement} but {version} is pinned"


def test_what_is_pinned_runs_on_the_first_python_that_is_promised() -> None:
    """Debian 12 has 3.11.2; a pin that wants a later one makes the set-up fail there alone."""
    wanted = {d.name: SpecifierSet(d.metadata["Requires-Python"] or "") for d in distributions()}
    assert len(wanted) > 100
    assert [name for name, versions in wanted.items() if "3.11.0" not in versions] == []


def test_pins_are_exact_and_of_the_plain_index() -> None:
    """A local version, as that of torch's wheels for processors alone, is on no plain index."""
    assert len(pinned()) > 100
    assert [name for name, version in pinned().items() if version.local is not None] == []


def test_conda_users_get_the_same_versions() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert "python=3.11" in conda
    assert pip["pip"][0] == "--constraint constraints.txt"
    assert "--editable .[test]" in pip["pip"]


def test_ci_and_readme_run_make_test() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^make test\b", (ROOT / "README.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", [p for p in TRACKED if p.suffix == ".md"], ids=lambda p: p.name)
def test_no_link_is_dead(path: Path) -> None:
    targets = [t for t in LINK.findall(path.read_text(encoding="utf-8")) if "://" not in t]
    dead = [target for target in targets if not (path.parent / target).exists()]
    assert not dead


def test_every_notebook_is_where_its_tests_look() -> None:
    """See tests/analysis/page/test_notebooks.py."""
    folders = {path.parent for path in TRACKED if path.suffix == ".ipynb"}
    assert folders == {ROOT / "analysis" / "notebooks"}


def test_nothing_large_and_no_path_of_a_machine_is_kept() -> None:
    for path in TRACKED:
        assert path.stat().st_size < 500_000, f"{path.name} is large"
        if path.suffix in (".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".ipynb", ""):
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert not re.search(r"/(root|home/\w+)/\w", text), (
                f"{path.name} names a machine's path"
            )


def test_every_package_folder_is_distributed() -> None:
    """setuptools finds a folder as a package only if it, and all above it, have an __init__.py."""
    folders = {path.parent for path in TRACKED if path.suffix == ".py" and path.exists()}
    packages = {folder for folder in folders if folder.relative_to(ROOT).parts[:1] in PACKAGES}
    assert packages and all((folder / "__init__.py").exists() for folder in packages)
