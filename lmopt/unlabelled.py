"""More text than the training split, for the teacher to label: brought by the user, or cut anew."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lmopt.augment import rechunk
from lmopt.cache import content_hash
from lmopt.config import TaskConfig
from lmopt.data import Data, Split, chunk_text
from lmopt.sources import read_texts

VERSION = 1
RUN_WORDS = 13
WORD = re.compile(r"\w+")


def build_unlabelled(task: TaskConfig, data: Data, folder: Path) -> None:
    """Write the split "unlabelled" of a task into `folder`, for `lmopt.data.load_data`.

    It holds the texts of `task.unlabelled` (chunked as the task's own are; their label is -1), then
    the training documents cut anew `task.rechunk` times (their label is the document's). Repeated
    texts, training texts and whatever shares words with held-out text are left out.
    Raises ValueError if nothing is left.
    """
    parts = []
    if task.unlabelled is not None:
        parts.append(_foreign(task, int(max(split.groups.max() for split in data.splits.values()))))
    if task.rechunk > 0 and task.chunk_min_words is not None:
        train = data.splits["train"]
        parts.append(rechunk(train, task.rechunk, task.chunk_min_words, task.seed))
    texts = [text for part in parts for text in part.texts]
    kept = without_held_out(texts, data)
    if not kept:
        raise ValueError(
            f"none of the {len(texts)} unlabelled texts is left: the others are repeated, or in "
            "the task's own data; give other text (task.unlabelled, task.rechunk)"
        )
    columns = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    labels, groups = (column[kept].tolist() for column in columns)
    split = {"texts": [texts[i] for i in kept], "labels": labels, "groups": groups}
    content: dict[str, Any] = {"label_names": data.label_names, "unlabelled": split}
    content["key"] = content_hash(content)
    (folder / "data.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _foreign(task: TaskConfig, last_document: int) -> Split:
    """The user's texts, each a document of its own, numbered after the task's documents."""
    assert task.unlabelled is not None
    texts: list[str] = []
    groups: list[int] = []
    for document, text in enumerate(read_texts(task.unlabelled), last_document + 1):
        chunks = [text] if task.chunk_min_words is None else chunk_text(text, task.chunk_min_words)
        texts += chunks
        groups += [document] * len(chunks)
    return Split(texts, np.full(len(texts), -1), np.asarray(groups, np.int64))


def without_held_out(texts: Iterable[str], data: Data) -> list[int]:
    """Indices of the texts to keep: new ones that share no 13 words in a row with held-out text.

    Case and punctuation do not count; a shorter text is compared as a whole.

    Source: Brown et al. (2020), Language Models are Few-Shot Learners, appendix C (13-grams).
    """
    held_out: set[str] = set()
    for name in ("validation", "test"):
        for text in data.splits[name].texts:
            held_out.update(word_runs(text))
    seen = set(data.splits["train"].texts)
    kept = []
    for i, text in enumerate(texts):
        if text not in seen and held_out.isdisjoint(word_runs(text)):
            seen.add(text)
            kept.append(i)
    return kept


def word_runs(text: str) -> list[str]:
    """Every 13 words in a row of a text; all its words if there are fewer."""
    words = WORD.findall(text.casefold())
    starts = range(max(1, len(words) - RUN_WORDS + 1))
    return [" ".join(words[start : start + RUN_WORDS]) for start in starts]
