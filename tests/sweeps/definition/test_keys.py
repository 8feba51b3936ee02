"""The page of all keys is the one that the models give, and names every key of them."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from lmopt.config.models import StudentConfig, TeacherConfig
from lmopt.config.task import SplitConfig, TaskConfig, UnlabelledConfig
from lmopt.methods.recipe import Recipe
from lmopt.runtimes.config import RuntimeConfig
from slurm.profile import Profile, Retries
from sweeps.definition.keys import keys_markdown
from sweeps.definition.space import Categorical, Float, Int
from sweeps.definition.sweep import Bound, Resources, StudyConfig, SweepConfig

PAGE = Path(__file__).parents[3] / "docs" / "definition-keys.md"
MODELS = [
    SweepConfig, TaskConfig, SplitConfig, UnlabelledConfig, TeacherConfig, StudentConfig,
    StudyConfig, RuntimeConfig, Resources, Bound, Float, Int, Categorical, Recipe, Profile, Retries,
]  # fmt: skip


def test_the_page_is_what_the_models_give() -> None:
    assert PAGE.read_text(encoding="utf-8") == keys_markdown()


@pytest.mark.parametrize("model", MODELS)
def test_every_key_has_a_row_in_one_table_of_its_model(model: type[BaseModel]) -> None:
    tables = [
        [row.split("`")[1] for row in table.splitlines() if row.startswith("| `")]
        for table in keys_markdown().split("\n\n")
    ]
    keys = list(model.model_fields)
    if model is Recipe:
        rows = [name for table in tables for name in table]
        assert all(name in rows for name in keys)
    else:
        assert keys in tables


@pytest.mark.parametrize(
    "row",
    [
        "| `ffn_keep` | `1` | number > 0, ≤ 1 | share | Share of the FFN neurons that stay. |",
        "| `bits` | `32` | `32`, `16`, `8`, `4`, `3`, `2` |  | Bits of a stored weight. |",
        "| `threads` | `1` | whole number ≥ 1 | Threads of the timed and evaluated artifact. |",
        "| `train` | `0.5` | number > 0, &lt; 1 |  |",
        "| `scheduler` | required | `slurm`, `local` |  |",
        "| `size_bytes` | minimize | bytes |",
    ],
)
def test_a_row_tells_default_range_unit_and_meaning(row: str) -> None:
    assert row in keys_markdown().splitlines()
