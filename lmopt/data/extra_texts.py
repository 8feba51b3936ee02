"""Extra text for the teacher to label: brought by the user, or training documents cut anew."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmopt.config.task import TaskConfig
from lmopt.data.chunking import SENTENCE_END, chunk_text, pack
from lmopt.data.dataset import Data, Split
from lmopt.data.duplicates import HELD_OUT
from lmopt.data.overlap import Flags, overlaps
from lmopt.data.report import DataReport, SplitReport, write_report
from lmopt.data.sources import read_texts
from lmopt.errors import UserError
from lmopt.hashing import content_hash

VERSION = 1


def build_unlabelled(task: TaskConfig, data: Data, folder: Path) -> None:
    """Write the split "unlabelled" of a task into `folder`, for `lmopt.data.dataset.load_data`.

    It holds the texts of `task.unlabelled` (chunked as the task's own are; their label is -1), then
    the training documents cut anew `task.rechunk` times (their label is the document's). Repeated
    texts, training texts and texts that share a part with held-out text are left out.

    Raises:
        ValueError: Nothing is left.
    """
    parts = []
    if task.unlabelled is not None:
        parts.append(_foreign(task, int(max(split.groups.max() for split in data.splits.values()))))
    if task.rechunk > 0 and task.chunk_min_words is not None:
        train = data.splits["train"]
        parts.append(rechunk(train, task.rechunk, task.chunk_min_words, task.seed))
    texts = [text for part in parts for text in part.texts]
    leaks = _leaks(texts, data)
    kept = _new_texts(texts, leaks, data)
    if not kept:
        raise UserError(
            f"none of the {len(texts)} unlabelled texts is left: the others are repeated, or in "
            "the task's own data; give other text (task.unlabelled, task.rechunk)"
        )
    columns = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    labels, groups = (column[kept].tolist() for column in columns)
    split = {"texts": [texts[i] for i in kept], "labels": labels, "groups": groups}
    content: dict[str, Any] = {"label_names": data.label_names, "unlabelled": split}
    content["key"] = content_hash(content)
    (folder / "data.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    write_report(_report(len(texts), int(leaks.sum()), groups), folder)


def _report(read: int, leaks: int, groups: Sequence[int]) -> DataReport:
    """Tell of so many texts which leak and, by the documents of those used, which are repeated."""
    split = SplitReport(
        read=read,
        used=len(groups),
        documents=len(set(groups)),
        duplicates=read - len(groups) - leaks,
        near_duplicates=leaks,
    )
    return DataReport(rows={"unlabelled": read}, splits={"unlabelled": split})


def _foreign(task: TaskConfig, last_document: int) -> Split:
    """Return the user's texts, each a document of its own, numbered after the task's documents."""
    assert task.unlabelled is not None
    texts: list[str] = []
    groups: list[int] = []
    for document, text in enumerate(read_texts(task.unlabelled), last_document + 1):
        chunks = [text] if task.chunk_min_words is None else chunk_text(text, task.chunk_min_words)
        texts += chunks
        groups += [document] * len(chunks)
    return Split(texts, np.full(len(texts), -1), np.asarray(groups, np.int64))


def without_held_out(texts: Sequence[str], data: Data) -> list[int]:
    """Return the indices of the texts to keep: new ones that share no part with held-out text.

    `lmopt.data.overlap.overlaps` says what a part is.
    """
    return _new_texts(texts, _leaks(texts, data), data)


def _leaks(texts: Sequence[str], data: Data) -> Flags:
    held_out = [text for name in HELD_OUT for text in data.splits[name].texts]
    return overlaps(texts, held_out)[0]


def _new_texts(texts: Sequence[str], leaks: Flags, data: Data) -> list[int]:
    """Return the indices of texts that do not leak, are no training text and come first."""
    seen = set(data.splits["train"].texts)
    kept = []
    for i, text in enumerate(texts):
        if text not in seen and not leaks[i]:
            seen.add(text)
            kept.append(i)
    return kept


def rechunk(split: Split, copies: int, min_words: int, seed: int) -> Split:
    """Cut each document of a chunked split anew, `copies` times, by `seed`.

    Each copy cuts at other sentences: a random first one, and a random length between half of
    `min_words` and half more. Chunks that the split has already, repeated ones and those under half
    of `min_words` are left out.
    Labels and document numbers are the document's. Documents are put together from the chunks of
    `split` alone, so that no other text can come in.
    """
    rng = np.random.default_rng(seed)
    shortest = -(-min_words // 2)
    seen = set(split.texts)
    texts: list[str] = []
    rows: list[int] = []
    documents, first = np.unique(split.groups, return_index=True)
    for document, row in zip(documents, first, strict=True):
        chunks = [split.texts[i] for i in np.flatnonzero(split.groups == document)]
        sentences = [s for chunk in chunks for s in SENTENCE_END.split(chunk) if s]
        for _ in range(copies):
            words = int(rng.integers(shortest, min_words * 3 // 2, endpoint=True))
            start = int(rng.integers(len(sentences)))
            for text in pack(sentences[:start], words) + pack(sentences[start:], words):
                if text not in seen and len(text.split()) >= shortest:
                    seen.add(text)
                    texts.append(text)
                    rows.append(int(row))
    return Split(texts, split.labels[rows], split.groups[rows])
