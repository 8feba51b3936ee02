"""Every trial of some recipes would fail on some models: they are refused by config.json alone."""

import re
from typing import Any

import pytest

from lmopt.methods.recipe import Recipe

BERT = {
    "model_type": "bert",
    "num_hidden_layers": 4,
    "hidden_size": 64,
    "num_attention_heads": 4,
}
MODERN = BERT | {"model_type": "modernbert"}
MPNET = BERT | {"model_type": "mpnet"}
NARROW_EMBEDDINGS = BERT | {"model_type": "electra", "embedding_size": 16}


@pytest.mark.parametrize(
    ("config", "fields", "words"),
    [
        (BERT, {"layers": 5}, r"^layers must be in \[1, 4\] .* got 5$"),
        (BERT, {"hidden_size": 24}, r"^hidden_size must be a multiple of 16 .* got 24$"),
        (BERT, {"embedding_rank": 64}, r"^embedding_rank must be in \[1, 63\] .* got 64$"),
        (MODERN, {"ffn_keep": 0.5}, r"^ffn_keep must be left out for a modernbert model, .* gated"),
        (MODERN, {"heads_keep": 0.5}, r"^heads_keep must be left out for a modernbert"),
        (MODERN, {"hidden_size": 32}, r"^hidden_size must be left out for a modernbert"),
        (MPNET, {"hidden_size": 32}, r"^hidden_size must be left out for a mpnet"),
        (NARROW_EMBEDDINGS, {"hidden_size": 32}, r"^hidden_size must be left out .* 16 wide"),
    ],
)
def test_an_impossible_recipe_is_refused(
    config: dict[str, Any], fields: dict[str, Any], words: str
) -> None:
    reason = Recipe(**fields).refusal(config)
    assert reason is not None
    assert re.search(words, reason), reason


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        (BERT, {"layers": 4, "hidden_size": 32, "ffn_keep": 0.5, "embedding_rank": 31}),
        (MODERN, {"layers": 0, "ffn_keep": 0.5, "hidden_size": 32}),  # idle without layers
        (MODERN, {"sparsity": 0.5, "bits": 4}),
        ({}, {"layers": 99, "ffn_keep": 0.5, "embedding_rank": 1000}),  # nobody knows
    ],
)
def test_a_possible_one_is_not(config: dict[str, Any], fields: dict[str, Any]) -> None:
    assert Recipe(**fields).refusal(config) is None
