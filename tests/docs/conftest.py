"""Users in folders where everything stands that the pages name, and the tutorial once done."""

import csv
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import TUTORIAL, blocks
from tests.docs.user import User, new_user


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """Return a temporary folder with a short path."""
    path = Path(tempfile.mkdtemp(prefix="lm-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def make_user(
    tmp_path_factory: pytest.TempPathFactory,
    short_folder: Path,
    texts: list[tuple[str, str, str]],
    classifier_folder: Path,
) -> Callable[[], User]:
    """Make users with `reviews.csv`, a fine-tuned model, and what others computed in the cache."""
    cache = tmp_path_factory.mktemp("cache")

    def make() -> User:
        folder = tmp_path_factory.mktemp("user folder's")  # a space and a quote, as users have
        with (folder / "reviews.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label", "author"), *texts])
        (folder / "models").mkdir()
        shutil.copytree(classifier_folder, folder / "models" / "my-finetuned-bert")
        (folder / "runs").mkdir()
        (folder / "runs" / "cache").symlink_to(cache)
        return new_user(folder, short_folder)

    return make


@pytest.fixture(scope="session")
def tutorial(make_user: Callable[[], User]) -> tuple[User, dict[str, str]]:
    """Return the user who did the whole tutorial, and what each block printed."""
    user, said = make_user(), {}
    for block in blocks(TUTORIAL):
        if block.language == "yaml" and block.name:
            user.write(block.name, yaml.safe_load(block.text))
        elif block.language in ("bash", "python"):
            said[block.text] = user.run(block)
    return user, said


@pytest.fixture
def user(make_user: Callable[[], User], tutorial: tuple[User, dict[str, Any]]) -> User:
    """Return somebody who has the tutorial's files."""
    done, new = tutorial[0].folder, make_user()
    for path in done.glob("*.yaml"):
        shutil.copy(path, new.folder)
    return new
