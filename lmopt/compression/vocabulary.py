"""Trim the vocabulary to the tokens that the training text uses, and factorize the word table."""

import json
import re
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmopt.data.tokens import Tokens
from lmopt.errors import UserError
from lmopt.models.embeddings import (
    factorize_embeddings,
    trim_embeddings,
    trim_positions,
    word_table,
)
from lmopt.models.loading import load_classifier, load_tokenizer, save_model

VERSION = 1
BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")
Ints = npt.NDArray[np.int64]


def kept_ids(tokenizer: Any, train_tokens: Tokens, min_count: int) -> Ints:
    """Return the ids to keep, ascending.

    The training text uses them at least `min_count` times, or the tokenizer needs them to split any
    word as before (special and added tokens, single characters).

    Raises:
        UserError: The tokenizer cannot be trimmed.
    """
    model = _tokenizer_state(tokenizer)["model"]
    ids: dict[str, int] = tokenizer.get_vocab()
    known = set(ids.values())
    kept = set(np.flatnonzero(np.bincount(train_tokens.ids) >= min_count).tolist())
    kept |= {0, 1}  # MPNet's padding id is 1, whatever its configuration says.
    kept |= set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    kept |= set(tokenizer.backend_tokenizer.encode("", "").ids)  # The post-processor adds them.
    kept |= {ids[token] for token in _indispensable(tokenizer, model) if token in ids}
    if model["type"] == "BPE":
        kept |= {ids[token] for token in _merged_from(model, {t for t in ids if ids[t] in kept})}
    return np.array(sorted(kept & known), np.int64)


def _tokenizer_state(tokenizer: Any) -> dict[str, Any]:
    """Return the content of tokenizer.json.

    Raises:
        UserError: The tokenizer cannot be trimmed.
    """
    kind = "no tokenizer.json"
    if tokenizer.is_fast:
        state: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
        kind = state["model"]["type"]
        if kind in {"WordPiece", "BPE", "Unigram"}:
            return state
    raise UserError(
        f"{type(tokenizer).__name__} ({kind}) cannot be trimmed, only WordPiece, BPE and Unigram "
        "can: leave vocabulary_min_count out"
    )


def _indispensable(tokenizer: Any, model: dict[str, Any]) -> set[str]:
    """Return the pieces without which some word would be split differently or become unknown."""
    if model["type"] == "Unigram":
        scores = dict(model["vocab"])
        lowest = min(scores, key=scores.__getitem__)  # It sets the score of unknowns.
        unknown = [] if model["unk_id"] is None else [model["vocab"][model["unk_id"]][0]]
        return {lowest, *unknown} | _spelling(tokenizer, scores, "", "")
    prefix = model["continuing_subword_prefix"] or ""
    suffix = model.get("end_of_word_suffix") or ""
    return {model["unk_token"]} | _spelling(tokenizer, model["vocab"], prefix, suffix)


def _spelling(tokenizer: Any, pieces: Collection[str], prefix: str, suffix: str) -> set[str]:
    """Return the single characters, bytes, and pieces with a character that is no piece itself."""
    single = {p for p in pieces if len(p.removeprefix(prefix).removesuffix(suffix)) == 1}
    single |= {p for p in pieces if BYTE_PIECE.fullmatch(p)}
    if suffix:  # BPE merges all its tokens from single characters.
        return single
    split = tokenizer.backend_tokenizer.pre_tokenizer
    others = set()
    for piece in pieces:
        inner = piece.removeprefix(prefix)
        start = piece[: len(piece) - len(inner)]
        spelt = {start + inner[:1], *(prefix + character for character in inner[1:])}
        # The pre-tokenizer splits "[unused1]" before it could be looked up.
        if not spelt <= single and (split is None or len(split.pre_tokenize_str(inner)) == 1):
            others.add(piece)
    return single | others


def _merged_from(model: dict[str, Any], tokens: set[str]) -> set[str]:
    """Return all tokens that are merged, directly or not, into one of `tokens`."""
    prefix = model["continuing_subword_prefix"] or ""
    parents: dict[str, set[str]] = {}
    for left, right in model["merges"]:
        parents.setdefault(left + right.removeprefix(prefix), set()).update((left, right))
    found: set[str] = set()
    new = tokens
    while new:
        new = set().union(*(parents.get(token, ()) for token in new)) - found
        found |= new
    return found


def trim_tokenizer(tokenizer: Any, kept: Ints) -> Any:
    """Return the tokenizer with only the ids `kept` (ascending), renumbered in their order.

    Raises:
        UserError: The tokenizer cannot be trimmed, or has other ids when it is loaded again.
    """
    state = _tokenizer_state(tokenizer)
    new_ids = {int(old): new for new, old in enumerate(kept)}
    _trim_model(state["model"], new_ids)
    for token in state["added_tokens"]:
        token["id"] = new_ids[token["id"]]
    _renumber_processor(state["post_processor"] or {}, new_ids)
    if state["padding"] is not None:
        state["padding"]["pad_id"] = new_ids[state["padding"]["pad_id"]]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        path = Path(folder, "tokenizer.json")
        path.write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")
        trimmed = load_tokenizer(folder)
    expected = {t: new_ids[i] for t, i in tokenizer.get_vocab().items() if i in new_ids}
    if trimmed.get_vocab() != expected:
        raise UserError(
            f"{type(tokenizer).__name__} gives its tokens other ids when it is loaded again: "
            "leave vocabulary_min_count out"
        )
    return trimmed


def _trim_model(model: dict[str, Any], new_ids: dict[int, int]) -> None:
    """Keep in place the pieces with new ids, and the merges whose parts and result are kept."""
    if model["type"] == "Unigram":
        model["vocab"] = [piece for i, piece in enumerate(model["vocab"]) if i in new_ids]
        if model["unk_id"] is not None:
            model["unk_id"] = new_ids[model["unk_id"]]
        return
    vocabulary = {t: new_ids[i] for t, i in model["vocab"].items() if i in new_ids}
    model["vocab"] = vocabulary
    if model["type"] == "BPE":
        prefix = model["continuing_subword_prefix"] or ""
        model["merges"] = [
            [left, right]
            for left, right in model["merges"]
            if vocabulary.keys() >= {left, right, left + right.removeprefix(prefix)}
        ]


def _renumber_processor(processor: dict[str, Any], new_ids: dict[int, int]) -> None:
    """Renumber the special tokens that a post-processor adds, in place."""
    for part in processor.get("processors", []):
        _renumber_processor(part, new_ids)
    for name in ("cls", "sep"):  # Post-processors of BERT and RoBERTa.
        if name in processor:
            processor[name][1] = new_ids[processor[name][1]]
    for token in processor.get("special_tokens", {}).values():
        token["ids"] = [new_ids[i] for i in token["ids"]]


def trim_vocabulary(
    model_folder: Path,
    train_tokens: Tokens,
    min_count: int,
    folder: Path,
    max_length: int | None = None,
) -> None:
    """Trim a saved classifier to the tokens of its training text and save it into `folder`.

    `train_tokens` come from the model's own tokenizer. Positions beyond `max_length` are removed.
    """
    model, tokenizer = load_classifier(model_folder), load_tokenizer(model_folder)
    kept = kept_ids(tokenizer, train_tokens, min_count)
    trim_embeddings(model, kept)
    if max_length is not None:
        trim_positions(model, max_length)
    save_model(model, trim_tokenizer(tokenizer, kept), folder)


def factorize_vocabulary(model_folder: Path, train_tokens: Tokens, rank: int, folder: Path) -> None:
    """Factorise a saved classifier's word embeddings and save it into `folder`.

    Each token is weighted by its count in `train_tokens`, which come from the model's tokenizer.
    """
    model = load_classifier(model_folder)
    rows = word_table(model).num_embeddings
    factorize_embeddings(model, rank, np.bincount(train_tokens.ids, minlength=rows))
    save_model(model, load_tokenizer(model_folder), folder)
