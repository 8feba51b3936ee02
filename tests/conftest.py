"""Tiny real models and a tiny real task, built here."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmopt.environment import configure_libraries

TOPICS = {
    "наука": "учёный открыл новый закон физики и провёл опыт в лаборатории института",
    "спорт": "команда забила гол и выиграла матч чемпионата перед полным стадионом",
    "деньги": "банк поднял ставку и рубль вырос на бирже после отчёта компании",
}
FILLER = ["вчера", "сегодня", "снова", "люди", "город", "день", "большой", "первый", "время"]


@pytest.fixture(autouse=True)
def _libraries() -> None:
    """One thread: only then is training equal to the last bit."""
    configure_libraries(threads=1)


@pytest.fixture(scope="session")
def texts() -> list[tuple[str, str, str]]:
    """Russian (text, topic, document): 24 documents a topic, 5 short texts each."""
    rng = np.random.default_rng(0)
    rows = []
    for topic, words in TOPICS.items():
        for document in range(24):
            for number in range(5):
                some = rng.choice(words.split(), 4).tolist() + rng.choice(FILLER, 4).tolist()
                rng.shuffle(some)
                rows.append((f"{' '.join(some)} {document} {number}.", topic, f"{topic}{document}"))
    return rows


@pytest.fixture(scope="session")
def csv_file(texts: list[tuple[str, str, str]], tmp_path_factory: Any) -> Path:
    """The Russian texts as a csv file with columns body, topic and document."""
    path: Path = tmp_path_factory.mktemp("data") / "texts.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("body", "topic", "document"), *texts])
    return path


@pytest.fixture(scope="session")
def make_bert(texts: list[tuple[str, str, str]], tmp_path_factory: Any) -> Callable[..., Path]:
    """Save a random BERT of a given shape with a word-piece tokenizer of the Russian words."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    def make(hidden: int, layers: int, heads: int, ffn: int, seed: int = 0, extra: int = 0) -> Path:
        folder: Path = tmp_path_factory.mktemp("model")
        words = sorted({word for text, _, _ in texts for word in text.rstrip(".").split()})
        letters = sorted({letter for word in words for letter in word})
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *words]
        vocabulary += [*letters, *(f"##{letter}" for letter in letters)]
        vocabulary += [f"[unused{i}]" for i in range(extra)]
        (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)), encoding="utf-8")
        tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False)
        tokenizer.save_pretrained(folder)
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=ffn,
            max_position_embeddings=64,
        )
        BertForMaskedLM(config).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def teacher_folder(make_bert: Callable[..., Path]) -> Path:
    """A small encoder without a classification head: hidden 64, 4 layers."""
    return make_bert(hidden=64, layers=4, heads=4, ffn=128)


@pytest.fixture(scope="session")
def student_folder(make_bert: Callable[..., Path]) -> Path:
    """Narrower, with its own tokenizer; its widths share only 8 as a power of two."""
    return make_bert(hidden=24, layers=2, heads=2, ffn=40, seed=1, extra=7)


@pytest.fixture(scope="session")
def classifier_folder(teacher_folder: Path, tmp_path_factory: Any) -> Path:
    """The small encoder with a (random) head of three classes, saved."""
    from lmopt.compression.student import build_student

    folder: Path = tmp_path_factory.mktemp("classifier")
    build_student(teacher_folder, list(TOPICS), None, 0, folder)
    return folder
