from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AlbertConfig,
    AlbertTokenizer,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertTokenizer,
    BertTokenizerLegacy,
    CamembertConfig,
    CamembertTokenizer,
    DebertaV2Config,
    DebertaV2Tokenizer,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    MPNetTokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
)

from lmopt.compression.vocabulary import (
    factorize_vocabulary,
    kept_ids,
    trim_tokenizer,
    trim_vocabulary,
)
from lmopt.data.tokens import Tokens, pad, tokenize
from lmopt.models.loading import load_classifier, load_tokenizer, save_model

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
    """A full and a trimmed classifier, saved.

    The tokenizers are loaded: full, trimmed, and trimmed from its tokenizer.json alone. `kept` are
    the ids that were kept, `common` are texts of these tokens.
    """

    full: Path
    trimmed: Path
    tokenizers: tuple[Any, Any, tokenizers.Tokenizer]
    kept: np.ndarray
    common: list[str]

    def __repr__(self) -> str:
        return self.full.parent.name


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
    paths = (folder / "full", folder / "trimmed")
    alone = tokenizers.Tokenizer.from_file(str(paths[1] / "tokenizer.json"))
    loaded = (*(AutoTokenizer.from_pretrained(path) for path in paths), alone)
    return Family(*paths, loaded, kept, common[:20])


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
    full, trimmed, _ = family.tokenizers
    assert len(trimmed) == len(family.kept) <= len(full) - 15
    model = load_classifier(family.trimmed)
    assert model.get_input_embeddings().weight.shape[0] == model.config.vocab_size == len(trimmed)
    assert model.config.pad_token_id == trimmed.pad_token_id
    special = f"{family.common[0]} {full.mask_token} <added> \N{SNOWMAN}\N{SNOWMAN} word"
    check_equal_logits(family.full, family.trimmed, family.kept, [*family.common, special])


PARTS = st.one_of(
    st.sampled_from(["учёный", "команда", "банк", "необычай", "dict", "ионно", "1987", "<added>"]),
    st.text(st.sampled_from("абвгдеёжз бычто dict019.,№☃☃é\n\U0001f600"), max_size=6),
    st.text(max_size=4),
)


@settings(deadline=None)
@given(st.lists(PARTS, max_size=8).map("".join))
def test_any_text_is_spelt(family: Family, text: str) -> None:
    """Ids stay inside; what could be spelt still can; sequences without a lost token are equal."""
    full, trimmed, alone = family.tokenizers
    before, after = (tokenizer(text)["input_ids"] for tokenizer in (full, trimmed))
    assert max(after) < len(family.kept)
    if set(before) <= set(family.kept.tolist()):
        assert family.kept[after].tolist() == before
    if full.unk_token_id not in before:
        assert trimmed.unk_token_id not in after
    assert alone.encode(text).ids == after
    assert trimmed.decode(after) == full.decode(family.kept[after])


def ids_of(*counts: tuple[int, int]) -> Tokens:
    """One text that has each id so many times."""
    ids = np.repeat([i for i, _ in counts], [n for _, n in counts]).astype(np.int32)
    return Tokens(ids, np.array([0, len(ids)]))


def test_a_token_stays_if_it_is_frequent_enough(student_folder: Path) -> None:
    """rubert-tiny2's case: Russian words, and ids that no text ever uses."""
    tokenizer = load_tokenizer(student_folder)
    vocabulary = tokenizer.get_vocab()
    words = [vocabulary[word] for word in ("учёный", "матч", "рубль")]
    train = ids_of((words[0], 1), (words[1], 2), (words[2], 3))
    spelling = {i for t, i in vocabulary.items() if len(t.removeprefix("##")) == 1}
    spelling |= set(tokenizer.all_special_ids)
    for min_count in (1, 2, 3, 4):
        kept = kept_ids(tokenizer, train, min_count)
        assert kept.tolist() == sorted(spelling | set(words[min_count - 1 :]))
    assert vocabulary["[unused3]"] not in kept_ids(tokenizer, train, 1)


def test_a_piece_that_cannot_be_spelt_otherwise_stays(tmp_path: Path) -> None:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "b", "ab", "aba", "##ax"]
    tokenizer = BertTokenizer({token: i for i, token in enumerate(tokens)})
    kept = kept_ids(tokenizer, ids_of((5, 1)), 1)
    assert [t for i, t in enumerate(tokens) if i not in kept] == []  # No "##b": "ab" has to stay.
    tokenizer = BertTokenizer({token: i for i, token in enumerate([*tokens, "##b", "##x"])})
    kept = kept_ids(tokenizer, ids_of((5, 1)), 1)
    assert [t for i, t in enumerate(tokens) if i not in kept] == ["ab", "aba", "##ax"]
    trimmed = trim_tokenizer(tokenizer, kept)
    assert trimmed.tokenize("aba abax b") == ["a", "##b", "##a", "a", "##b", "##a", "##x", "b"]


def test_what_a_token_is_merged_from_stays() -> None:
    """No text has "ab" alone, but without it there would be no "abc"."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcd", "ab", "abc", "cd", "abcd"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merges = [("a", "b"), ("ab", "c"), ("c", "d"), ("ab", "cd")]
    tokenizer = RobertaTokenizer(vocabulary, merges)
    kept = kept_ids(tokenizer, ids_of((vocabulary["abc"], 2)), 2)
    trimmed = trim_tokenizer(tokenizer, kept)
    assert trimmed.get_vocab().keys() == set(tokens) - {"cd", "abcd"}
    assert trimmed.tokenize("abcd") == tokenizer.tokenize("abcd") == ["abc", "d"]
    assert trimmed.tokenize("abcabd") == ["abc", "ab", "d"]


def test_an_unknown_character_costs_as_much_as_before() -> None:
    """Unigram prices it by the lowest score: at a better price "abcd" would be "?" and "bcd"."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("<mask>", 0.0)]
    pieces += [("▁", -1.0), ("x", -2.0), ("ab", -30.0), ("cd", -30.0), ("bcd", -1.0)]
    pieces += [("xx", -3.0), ("xxxx", -60.0)]
    tokenizer = XLMRobertaTokenizer(pieces)
    kept = kept_ids(tokenizer, ids_of((6, 1)), 1)
    assert [pieces[i][0] for i in range(len(pieces)) if i not in kept] == ["xx"]
    trimmed = trim_tokenizer(tokenizer, kept)
    assert trimmed.tokenize("abcd") == tokenizer.tokenize("abcd") == ["▁", "ab", "cd"]
    assert trimmed.tokenize("xx") == ["▁", "x", "x"]


def test_special_tokens_at_the_end_and_padding_in_the_file(tmp_path: Path) -> None:
    """RoBERTa's positions begin after the padding's id, and that id moves here."""
    words = [f"w{i}" for i in range(30)]
    letters = ["w", "Ġ", *"0123456789"]
    merges = [("w", d) for d in "0123456789"] + [(w[:2], w[2]) for w in words if len(w) == 3]
    results = ["".join(pair) for pair in merges]
    tokens = [*letters, *results, "<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = RobertaTokenizer({t: i for i, t in enumerate(tokens)}, merges)
    sizes = NARROW | {"max_position_embeddings": 100}
    save_classifier(tokenizer, RobertaConfig, sizes, tmp_path / "full")
    path = tmp_path / "full" / "tokenizer.json"
    baked = tokenizers.Tokenizer.from_file(str(path))
    baked.enable_padding(pad_id=tokenizer.pad_token_id, pad_token="<pad>", length=9)
    baked.enable_truncation(9)
    baked.save(str(path))
    common = ["w1w2 w3", "w1 w4w4w4w4w4", "w2"]
    kept = trim(tmp_path / "full", common, tmp_path / "trimmed")
    trimmed = load_tokenizer(tmp_path / "trimmed")
    assert trimmed.pad_token_id < tokenizer.pad_token_id - 20
    check_equal_logits(tmp_path / "full", tmp_path / "trimmed", kept, common)
    alone = tokenizers.Tokenizer.from_file(str(tmp_path / "trimmed" / "tokenizer.json"))
    assert kept[alone.encode("w1 w2").ids].tolist() == baked.encode("w1 w2").ids
    limit = load_classifier(tmp_path / "full").config.max_position_embeddings
    moved = tokenizer.pad_token_id - trimmed.pad_token_id
    assert load_classifier(tmp_path / "trimmed").config.max_position_embeddings == limit - moved


def test_a_tokenizer_without_a_class_of_its_own_knows_its_special_tokens_from_the_file() -> None:
    tokens = ["a", "b", "ab", "##a", "##b", "aa", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    bert = BertTokenizer({token: i for i, token in enumerate(tokens)})
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bert.backend_tokenizer, unk_token="[UNK]", pad_token="[PAD]"
    )
    kept = kept_ids(tokenizer, ids_of((5, 1)), 1)
    assert 2 not in kept
    trimmed = trim_tokenizer(tokenizer, kept)
    assert len(trimmed) == len(tokens) - 1
    for text, pair in (("aa b", None), ("aa", "b ba")):
        before, after = tokenizer(text, pair)["input_ids"], trimmed(text, pair)["input_ids"]
        assert before[0] == tokens.index("[CLS]")
        assert kept[after].tolist() == before


def test_mpnet_takes_id_1_for_the_padding_whatever_its_tokenizer_says(tmp_path: Path) -> None:
    tokens = ["aa", "ab", "<s>", "a", "b", "##a", "##b", "ba", "</s>", "<pad>", "[UNK]", "<mask>"]
    tokenizer = MPNetTokenizer({token: i for i, token in enumerate(tokens)})
    save_classifier(tokenizer, MPNetConfig, NARROW, tmp_path / "full")
    kept = trim(tmp_path / "full", ["b a b"], tmp_path / "trimmed")
    assert [t for i, t in enumerate(tokens) if i not in kept] == ["ba"]
    check_equal_logits(tmp_path / "full", tmp_path / "trimmed", kept, ["b a b", "a a", "ab b"])


def test_a_factorised_vocabulary_fits_the_words_that_are_used(
    classifier_folder: Path, tmp_path: Path
) -> None:
    """As many words as the rank, and no other: their vectors are kept as they are."""
    used = np.arange(9, 17)
    factorize_vocabulary(classifier_folder, ids_of(*((i, 3) for i in used)), 8, tmp_path)
    before, model = load_classifier(classifier_folder), load_classifier(tmp_path)
    ids = torch.from_numpy(used)
    with torch.inference_mode():
        expected, got = (m.get_input_embeddings()(ids) for m in (before, model))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    assert model.config.lmopt_shape == {"embedding_rank": 8}
    assert load_tokenizer(tmp_path).get_vocab() == load_tokenizer(classifier_folder).get_vocab()


def test_tokenizers_that_cannot_be_trimmed_say_so(tmp_path: Path) -> None:
    model = tokenizers.models.WordLevel({"[UNK]": 0, "word": 1}, unk_token="[UNK]")
    whole_words = PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(model))
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nword")
    slow = BertTokenizerLegacy(str(tmp_path / "vocab.txt"))
    for tokenizer, kind in ((whole_words, "WordLevel"), (slow, "no tokenizer.json")):
        with pytest.raises(
            ValueError, match=rf"\({kind}\) cannot be trimmed.*leave vocabulary_min"
        ):
            kept_ids(tokenizer, ids_of((1, 1)), 1)
