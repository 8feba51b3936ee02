"""Tiny real models and a tiny real task, built once for all workers of a test session."""

import csv
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from lmopt.environment import configure_libraries, refuse_telemetry
from lmopt.measurement import measure
from lmopt.measurement.process import run_process
from tests.made_once import made_once
from tests.measuring import measure_here

# The same examples in every run and no limit on time: no test may fail because a machine is busy.
settings.register_profile("same", deadline=None, derandomize=True, database=None)
settings.register_profile("new", deadline=None, max_examples=500)
settings.load_profile("same")

# Files that take longest, first: no worker is left with one of them at the end.
LONGEST = ("tests/sweeps/test_end_to_end.py",)
_FOLDER = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Give this process a temporary folder and an order of the cores of its own.

    The local scheduler shares out cores below TMPDIR: neither another worker's jobs nor a sweep
    that runs on this machine keep the jobs of these tests waiting.

    Telemetry is refused here, because test modules import OpenVINO while they are collected. Each
    conversion of a model would start threads that report it, and take several times the CPU time.
    """
    refuse_telemetry()
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # tmp_path outlives it.
    folder = Path(tempfile.mkdtemp(prefix="lm-"))  # A short path: Unix sockets lie below it.
    folder.chmod(0o755)  # PostgreSQL's server runs as another user.
    config.stash[_FOLDER] = folder
    os.environ["TMPDIR"], tempfile.tempdir = str(folder), None
    cores = sorted(os.sched_getaffinity(0))
    first = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % len(cores)
    os.environ["LMOPT_CORES"] = ",".join(map(str, [*cores[first:], *cores[:first]]))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the temporary folder."""
    shutil.rmtree(config.stash[_FOLDER], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first; pytest-xdist hands files out in this order."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.split("::")[0], len(rank)))


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


@pytest.fixture(autouse=True, scope="session")
def _measuring_here() -> Iterator[None]:
    """Measure in this process: starting another takes longer than the work of so small a model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "run_process", measure_here)
        yield


@pytest.fixture
def measuring_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in a process of its own, as every run of a user does."""
    monkeypatch.setattr(measure, "run_process", run_process)


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

    def make(folder: Path) -> None:
        with (folder / "texts.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("body", "topic", "document"), *texts])

    return made_once(tmp_path_factory, "data", make) / "texts.csv"


@pytest.fixture(scope="session")
def make_bert(texts: list[tuple[str, str, str]], tmp_path_factory: Any) -> Callable[..., Path]:
    """Save a random BERT of a given shape with a word-piece tokenizer of the Russian words."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    def make(
        hidden: int, layers: int, heads: int, ffn: int, seed: int = 0, extra: int = 0,
        *, folder: Path | None = None,
    ) -> Path:  # fmt: skip
        folder = folder or tmp_path_factory.mktemp("model")
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
def teacher_folder(make_bert: Callable[..., Path], tmp_path_factory: Any) -> Path:
    """A small encoder without a classification head: hidden 64, 4 layers."""
    shape = {"hidden": 64, "layers": 4, "heads": 4, "ffn": 128}
    return made_once(tmp_path_factory, "teacher", lambda f: make_bert(**shape, folder=f))


@pytest.fixture(scope="session")
def student_folder(make_bert: Callable[..., Path], tmp_path_factory: Any) -> Path:
    """Narrower, with its own tokenizer; its widths share only 8 as a power of two."""
    shape = {"hidden": 24, "layers": 2, "heads": 2, "ffn": 40, "seed": 1, "extra": 7}
    return made_once(tmp_path_factory, "student", lambda f: make_bert(**shape, folder=f))


@pytest.fixture(scope="session")
def classifier_folder(teacher_folder: Path, tmp_path_factory: Any) -> Path:
    """The small encoder with a (random) head of three classes, saved."""
    from lmopt.compression.student import build_student

    return made_once(
        tmp_path_factory,
        "classifier",
        lambda folder: build_student(teacher_folder, list(TOPICS), None, 0, folder),
    )
