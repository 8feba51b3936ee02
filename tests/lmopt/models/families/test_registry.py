"""What a family says of its models, held against models of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lmopt.models.families.other import OTHER
from lmopt.models.families.registry import FAMILIES, embedding_width, family_of, no_width
from tests.lmopt.small_families import OPTIONS, batch, logits, saved, tiny


def test_a_family_is_found_by_each_of_its_names() -> None:
    names = [name for family in FAMILIES for name in family.model_types]
    assert len(set(names)) == len(names) > 10
    assert all(family_of(name) in FAMILIES for name in names)
    assert family_of("roformer") is family_of(None) is OTHER


def test_a_family_is_asked_without_torch() -> None:
    code = (
        "import sys; from lmopt.models.families.registry import FAMILIES, family_of, no_width\n"
        "for family in FAMILIES:\n"
        "    for name in family.model_types:\n"
        "        family.no_units({'model_type': name}, 'ffn'), no_width({'model_type': name})\n"
        "print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.mark.parametrize("name", OPTIONS)
def test_config_json_holds_the_shape_under_the_family_s_names(name: str, tmp_path: Path) -> None:
    model = tiny(name)
    config = json.loads((saved(model, tmp_path) / "config.json").read_text())
    family = family_of(config["model_type"])
    assert [config[key] for key in family.names] == [3, 16, 4, 24]
    assert embedding_width(config) == model.get_input_embeddings().embedding_dim


@pytest.mark.parametrize("name", OPTIONS)
def test_the_head_reads_what_the_family_says(name: str) -> None:
    """Other last states of all tokens but the first: a head that reads the first alone is deaf."""
    model = tiny(name)
    before = logits(model)
    family = family_of(model.config.model_type)

    def disturb(_module: Any, _inputs: Any, output: Any) -> Any:
        output.last_hidden_state[:, 1:] += 1.0
        return output

    model.base_model.register_forward_hook(disturb)
    reads = family.head_reads(model.config.to_dict())
    with torch.inference_mode():
        disturbed = model(**batch()).logits
    assert reads == ("first" if torch.equal(disturbed, before) else "mean")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "bert", "hidden_size": 384}, None),
        ({"model_type": "electra", "hidden_size": 256, "embedding_size": 128}, "are 128 wide"),
        ({"model_type": "rembert", "hidden_size": 1152, "input_embedding_size": 256}, "256 wide"),
        ({"model_type": "mpnet", "hidden_size": 768}, "position bias"),
        ({"model_type": "modernbert", "hidden_size": 768}, "cannot be cut yet"),
        ({"model_type": "roformer", "hidden_size": 768}, "does not know"),
        ({"model_type": "electra"}, None),
    ],
)
def test_models_that_cannot_get_narrower(config: dict[str, Any], said: str | None) -> None:
    reason = no_width(config)
    assert reason is None if said is None else said in (reason or "")
