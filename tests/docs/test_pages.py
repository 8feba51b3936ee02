"""Every code block of every page is run, or read as what it is; nothing is only looked at.

Shell and Python run in a user's folder. YAML is a sweep, a profile, or a part of one, and must be
valid. README.md's sweep is run to its end in tests/sweeps/test_end_to_end.py.
"""

import copy
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from slurm.devcluster.packages import MissingPackagesError, check_packages
from slurm.profile import load_profile
from sweeps.definition.sweep import parse_sweep
from tests.absent import absent
from tests.docs.pages import (
    DOCS,
    PAGES,
    README,
    RUSSIAN,
    TUTORIAL,
    Block,
    blocks,
    commands,
    tracked_pages,
)
from tests.docs.user import SMALLER, User
from tests.sweeps.small_run import DEFINITION

RUN = ("bash", "python")
COMMAND = re.compile(r"^\s*(\$|>>>|lmopt|python|make|pip|git|export|eval|sudo)\s", re.MULTILINE)
YAML = [block for page in PAGES for block in blocks(page, "yaml")]


def names(pages: list[Path]) -> Any:
    """Return parameters called by their file."""
    return [pytest.param(page, id=page.name) for page in pages]


def where(block: Block) -> str:
    """Return where a block stands."""
    return f"{block.page}-{block.line}"


def test_no_page_is_forgotten() -> None:
    assert tracked_pages() - set(PAGES) <= {README.with_name("CHANGELOG.md")}


@pytest.mark.parametrize("page", names(PAGES))
def test_a_block_is_of_a_kind_that_is_run_or_a_picture(page: Path) -> None:
    for block in blocks(page):
        assert block.language in (*RUN, "yaml", ""), where(block)
        is_picture = block.language == ""  # a tree, a diagram
        assert not (is_picture and COMMAND.search(block.text)), f"{where(block)}: say ```bash"
    fences = re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(blocks(page))


@pytest.mark.parametrize("block", YAML, ids=where)
def test_yaml_is_valid(block: Block, tmp_path: Path) -> None:
    values = yaml.safe_load(block.text)
    if "scheduler" in values:
        path = tmp_path / "profile.yaml"
        path.write_text(block.text, encoding="utf-8")
        load_profile(path)
    elif "methods" in values:  # A part of a definition, beside the files that the page shows.
        page = next(page for page in PAGES if page.name == block.page)
        for shown in blocks(page, "python"):
            (tmp_path / shown.text.split("\n")[0].removeprefix("# ")).write_text(shown.text)
        files = [str(tmp_path / name) for name in values["methods"]]
        parse_sweep(laid_over(DEFINITION, {**values, "methods": files}), source=where(block))
    elif "search" in values:
        parse_sweep(values, source=where(block))
    else:
        parse_sweep(laid_over(DEFINITION, values), source=where(block))


def laid_over(base: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """Return a definition with some sections' keys replaced."""
    whole = copy.deepcopy(dict(base))
    for section, keys in part.items():
        both = isinstance(keys, dict) and section in whole
        whole[section] = {**whole[section], **keys} if both else keys
    return whole


def test_what_is_made_smaller_is_on_a_page() -> None:
    asked = "\n".join(line for page in PAGES for line in commands(page))
    assert all(text in asked for text in SMALLER)


@pytest.mark.pages
@pytest.mark.timeout(1800)  # the whole tutorial, whoever comes first
def test_the_tutorial_ends_with_a_winner(tutorial: tuple[User, dict[str, str]]) -> None:
    user, said = tutorial
    assert "6/6 trials" in output(said, "lmopt check")
    assert "accuracy_test" in output(said, "import pandas")
    assert "http://127.0.0.1:" in output(said, "lmopt pareto")
    label, probability = output(said, "lmopt export runs/my_sweep winner ").split()[-2:]
    assert label and 0 < float(probability) <= 1
    for folder in ("winner", "winner-onnx"):
        found = {path.name for path in (user.folder / folder).iterdir()}
        assert {"README.md", "usage.py"} <= found
    assert (user.folder / "runs" / "my_sweep" / "report").is_dir()
    assert output(said, "lmopt submit my_sweep.yaml --on my_cluster.yaml --run-dir")


def output(said: Mapping[str, str], start: str) -> str:
    """Return what the block that starts so printed."""
    return next(text for block, text in said.items() if block.startswith(start))


@pytest.mark.pages
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", names([page for page in DOCS if page != TUTORIAL]))
def test_the_blocks_of_a_page_run(
    page: Path, user: User, tutorial: tuple[User, dict[str, str]]
) -> None:
    found = blocks(page, *RUN)
    if any("slurm.devcluster" in block.text for block in found):
        try:
            check_packages(accounting=True)
        except MissingPackagesError as error:
            absent(f"NO SLURM HERE, {page.name} IS NOT RUN: {error}")
    if not any("lmopt submit" in block.text for block in found):
        finished = tutorial[0].folder / "runs" / "my_sweep"
        shutil.copytree(finished, user.folder / "runs" / "my_sweep")
    try:
        for block in found:
            user.run(block)
    finally:
        subprocess.run(
            ["python", "-m", "slurm.devcluster", "down"],
            env=dict(user.environment), capture_output=True, check=False,
        )  # fmt: skip


@pytest.mark.parametrize("page", names([README, README.with_name("CONTRIBUTING.md")]))
def test_what_is_not_lmopt_is_a_target_of_make(page: Path, make_user: Callable[[], User]) -> None:
    makes = [line for line in commands(page) if not line.startswith("lmopt ")]
    assert makes and all(line.startswith("make ") for line in makes)
    make_user().run(Block(page.name, 0, "bash", "\n".join(makes)))


def test_the_russian_commands_are_those_of_the_english_page() -> None:
    assert commands(RUSSIAN) == commands(README)
