from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AlbertConfig,
    AlbertTokenizer,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertTokenizer,
    CamembertConfig,
    CamembertTokenizer,
    DebertaV2Config,
    DebertaV2Tokenizer,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    MPNetTokenizer,
    RobertaConfig,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
)

from lmopt.data import Tokens, pad, tokenize
from lmopt.models import load_classifier, load_tokenizer, save_model
from lmopt.vocabulary import kept_ids, trim_vocabulary

NARROW = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 60,
}
THIN = NARROW | {"embedding_size": 8}
DISTIL = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
FAMILIES: dict[str, tuple[type[Any], type[Any], dict[str, Any]]] = {
    "bert": (BertTokenizer, BertConfig, NARROW),
    "distilbert": (BertTokenizer, DistilBertConfig, DISTIL),
    "electra": (BertTokenizer, ElectraConfig, THIN),
    "mpnet": (MPNetTokenizer, MPNetConfig, NARROW),
    "roberta": (RobertaTokenizer, RobertaConfig, NARROW),
    "xlm-roberta": (XLMRobertaTokenizer, XLMRobertaConfig, NARROW),
    "camembert": (CamembertTokenizer, CamembertConfig, NARROW),
    "albert": (AlbertTokenizer, AlbertConfig, THIN),
    "deberta-v2": (DebertaV2Tokenizer, DebertaV2Config, NARROW | {"relative_attention": True}),
}
RARE = ["необычайно", "квантование", "dictionary", "ежевика 1987"]
NAMED = ("bos", "eos", "unk", "pad", "cls", "sep", "mask")


class Family(NamedTuple):
    """A full and a trimmed classifier, saved, and the ids that were kept."""

    full: Path
    trimmed: Path
    kept: np.ndarray
    common: list[str]


def save_classifier(tokenizer: Any, config: type[Any], sizes: dict[str, Any], folder: Path) -> None:
    """A random classifier for the tokenizer; its embeddings have a few rows to spare."""
    torch.manual_seed(0)
    names = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in NAMED}
    ids = {name: i for name, i in names.items() if i is not None}
    shape = config(**sizes, **ids, vocab_size=len(tokenizer) + 3, num_labels=3)
    model = AutoModelForSequenceClassification.from_config(shape)
    for parameter in model.parameters():  # Zero biases and padding rows would hide mistakes.
        torch.nn.init.normal_(parameter, std=0.3)
    save_model(model, tokenizer, folder)


def trim(full: Path, common: list[str], trimmed: Path) -> np.ndarray:
    """Trim a classifier to the tokens of `common`."""
    tokenizer = load_tokenizer(full)
    tokens = tokenize(tokenizer, common, 50)
    trim_vocabulary(full, tokens, 1, trimmed)
    return kept_ids(tokenizer, tokens, 1)


@pytest.fixture(scope="module", params=FAMILIES)
def family(
    request: pytest.FixtureRequest, texts: list[tuple[str, str, str]], tmp_path_factory: Any
) -> Family:
    kind, config, sizes = FAMILIES[request.param]
    common = [text for text, topic, _ in texts if topic != "деньги"]
    rare = [text for text, topic, _ in texts if topic == "деньги"] + RARE * 40
    tokenizer = kind().train_new_from_iterator([*common, *rare], 600)
    tokenizer.add_tokens(["<added>"])
    folder: Path = tmp_path_factory.mktemp(request.param)
    save_classifier(tokenizer, config, sizes, folder / "full")
    kept = trim(folder / "full", common, folder / "trimmed")
    return Family(folder / "full", folder / "trimmed", kept, common)


@torch.inference_mode()
def logits(folder: Path, tokens: Tokens) -> torch.Tensor:
    """Logits of a saved classifier, in one padded batch."""
    model = load_classifier(folder).eval()
    pad_id = model.config.pad_token_id
    input_ids, mask = pad([tokens[i] for i in range(len(tokens))], pad_id)
    return model(
        input_ids=torch.from_numpy(input_ids), attention_mask=torch.from_numpy(mask)
    ).logits


def check_equal_logits(full: Path, trimmed: Path, kept: np.ndarray, texts: list[str]) -> None:
    """The same texts: token by token the same, and the same logits."""
    before = tokenize(load_tokenizer(full), texts, 50)
    after = tokenize(load_tokenizer(trimmed), texts, 50)
    np.testing.assert_array_equal(kept[after.ids], before.ids)
    np.testing.assert_array_equal(after.offsets, before.offsets)
    torch.testing.assert_close(logits(trimmed, after), logits(full, before), rtol=0, atol=1e-6)


def test_texts_of_kept_tokens_keep_their_logits(family: Family) -> None:
    full, trimmed = load_tokenizer(family.full), load_tokenizer(family.trimmed)
    assert len(trimmed) == len(family.kept) <= len(full) - 15
    model = load_classifier(family.trimmed)
    assert model.get_input_embeddings().weight.shape[0] == model.config.vocab_size == len(trimmed)
    assert model.config.pad_token_id == trimmed.pad_token_id
    special = f"{family.common[0]} {full.mask_token} <added> \N{SNOWMAN}\N{SNOWMAN} word"
    check_equal_logits(family.full, family.trimmed, family.kept, [*family.common[:20], special])


LOADED: dict[str, Any] = {}  # Once, not for every drawn text.


def load_tokenizers(family: Family) -> tuple[Any, Any, tokenizers.Tokenizer]:
    """The full and the trimmed tokenizer, and the trimmed one from its tokenizer.json alone."""
    name = family.full.parent.name
    if name not in LOADED:
        alone = tokenizers.Tokenizer.from_file(str(family.trimmed / "tokenizer.json"))
        folders = (family.full, family.trimmed)
        LOADED[name] = (*(AutoTokenizer.from_pretrained(f) for f in folders), alone)
    loaded: tuple[Any, Any, tokenizers.Tokenizer] = LOADED[name]
    return loaded


PARTS = st.one_of(
    st.sampled_from(["учёный", "команда", "банк", "необычай", "dict", "ионно", "1987", "<added>"]),
    st.text(st.sampled_from("абвгдеёжз бычто dict019.,№☃☃é\n\U0001f600"), max_size=6),
    st.text(max_size=4),
)


@given(st.lists(PARTS, max_size=8).map("".join))
def test_any_text_is_spelt(family: Family, text: str) -> None:
    """Ids stay inside; what could be spelt still can; sequences without a lost token are equal."""
    full, trimmed, alone = load_tokenizers(family)
    before, after = (tokenizer(text)["input_ids"] for tokenizer in (full, trimmed))
    assert max(after) < len(family.kept)
    if set(before) <= set(family.kept.tolist()):
        assert family.kept[after].tolist() == before
    if full.unk_token_id not in before:
        assert trimmed.unk_token_id not in after
    assert alone.encode(text).ids == after
    assert trimmed.decode(after) == full.decode(family.kept[after])
