"""The example of docs/own-method.md as a user runs it: sweep, front, export, reproduce."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from lmopt.methods.own import recipe_type_of
from tests.docs.pages import ROOT, blocks
from tests.sweeps.small_run import tiny_definition

PAGE = ROOT / "docs" / "own-method.md"
EXAMPLE = "random_heads.py"
LONGEST = 60  # lines of a complete example

pytestmark = pytest.mark.slow


def example() -> str:
    (text,) = (block.text for block in blocks(PAGE, "python"))
    assert text.startswith(f"# {EXAMPLE}\n")
    return text


def lmopt(folder: Path, *arguments: str) -> str:
    """Run a command as a user does, in the user's folder."""
    command = [sys.executable, "-P", "-m", "sweeps.cli", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory,
    csv_file: Path,
    teacher_folder: Path,
    student_folder: Path,
) -> Path:
    """A user's folder with the example, a sweep of it, and its finished run."""
    folder: Path = tmp_path_factory.mktemp("own")
    (folder / EXAMPLE).write_text(example(), encoding="utf-8")
    definition: dict[str, Any] = tiny_definition(csv_file, teacher_folder, student_folder)
    definition |= {
        "name": "own",
        "methods": [EXAMPLE],
        "student": {},
        "recipe": {"learning_rate": 3e-3, "batch_size": 16},
        "search": {"heads_removed": [0.0, 0.25, 0.5], "bits": [32, 8]},
        "reference_points": {"baseline": {}, "random heads": {"heads_removed": 0.5}},
        "study": {"trials": 4, "sampler": "random", "seed": 1},
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(definition), encoding="utf-8")
    lmopt(folder, "submit", "own.yaml", "--wait")
    return folder


def test_the_example_is_short() -> None:
    assert len(example().splitlines()) <= LONGEST


def test_check_says_that_the_code_will_be_run(home: Path) -> None:
    said = lmopt(home, "check", "own.yaml")
    assert EXAMPLE in said and "will be run" in " ".join(said.split())


def test_the_method_is_in_the_rows_and_did_what_it_says(home: Path) -> None:
    rows = pd.read_parquet(home / "runs" / "own" / "results.parquet").set_index("method")
    assert set(rows["state"]) == {"COMPLETE"}
    removed, baseline = rows.loc["random heads"], rows.loc["baseline"]
    assert (list(removed["methods"]), list(removed["settings"])) == (
        ["random heads"],
        ["50 % of heads"],
    )
    hidden, layers = 64, 4
    # Half of the heads: of query, key and value the rows and biases, of the output the columns.
    lost = layers * (4 * hidden * hidden // 2 + 3 * hidden // 2)
    assert baseline["parameters"] - removed["parameters"] == lost
    assert removed["size_bytes"] < baseline["size_bytes"]


def test_the_run_keeps_its_copy_of_the_code(home: Path) -> None:
    run = home / "runs" / "own"
    (frozen,) = (run / "methods").iterdir()
    assert frozen.read_text() == example()
    definition = yaml.safe_load((run / "sweep.yaml").read_text())
    assert definition["methods"] == [f"methods/{EXAMPLE}"]
    (home / EXAMPLE).write_text(example().replace("randperm", "no_such_thing"), encoding="utf-8")
    try:
        assert json.loads(lmopt(home, "pareto", "runs/own", "--json"))["front"]
    finally:
        (home / EXAMPLE).write_text(example(), encoding="utf-8")


def test_the_model_is_taken_home_and_made_again(home: Path) -> None:
    rows = pd.read_parquet(home / "runs" / "own" / "results.parquet").set_index("method")
    trial = str(rows.loc["random heads", "trial"])
    lmopt(home, "export", "runs/own", "taken", "--trial", trial)
    assert (
        "50 % of the attention heads removed at random." in (home / "taken/README.md").read_text()
    )
    said = json.loads(lmopt(home, "reproduce", "runs/own", trial, "--json"))
    by_name = {one["name"]: one for one in said["comparisons"]}
    assert by_name["bytes"]["now"] == rows.loc["random heads", "size_bytes"]


def test_its_key_depends_on_the_code(home: Path) -> None:
    rows = pd.read_parquet(home / "runs" / "own" / "results.parquet").set_index("method")
    frozen = recipe_type_of([str(home / "runs" / "own" / "methods" / EXAMPLE)])
    recipe = frozen(**json.loads(rows.loc["random heads", "recipe_json"]))
    assert recipe.key() == rows.loc["random heads", "recipe_key"]
