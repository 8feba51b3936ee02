"""The data of a sweep before it runs: texts read, used, dropped, cut off, by split and class."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmopt.config.task import TaskConfig
from sweeps.preflight.cost import Counts

if TYPE_CHECKING:
    from lmopt.data.dataset import Data

COUNTED = 10_000  # Texts of a split that are tokenized; of more, so many at equal distances.


@dataclass(frozen=True)
class Truncation:
    """Texts longer than `max_length` tokens, among those that were tokenized."""

    max_length: int
    texts: dict[str, int]
    of: dict[str, int]


@dataclass(frozen=True)
class DataTable:
    """Plain values for scripts: `lmopt.data.report.DataReport` of the task's data, and more.

    `truncation` is None where the teacher's tokenizer is not on this machine, `extra` where there
    is no extra text.
    """

    rows: dict[str, int]
    hidden: dict[str, int]
    splits: dict[str, dict[str, Any]]
    remarks: list[str]
    truncation: Truncation | None
    extra: dict[str, Any] | None


def look_at_data(task: TaskConfig, teacher: str) -> tuple[Counts, DataTable | None]:
    """Read a task's data and extra text where they are on this machine.

    Return how many texts there are to train on, and the table; None for data of the hub.

    Raises:
        ValueError: The data cannot be used; one line with the remedy.
    """
    from lmopt.data.dataset import build_data, load_data
    from lmopt.data.extra_texts import build_unlabelled
    from lmopt.locations import resolve

    extra = Path(resolve(task.unlabelled.dataset)) if task.unlabelled is not None else None
    counts = Counts(None, None if task.has_extra_texts else 0)
    if not Path(resolve(task.dataset)).exists():
        return counts, None
    with tempfile.TemporaryDirectory() as folder:
        build_data(task, Path(folder))
        data, more = load_data(Path(folder)), None
        counts = counts._replace(train=len(data.splits["train"].labels))
        if extra.exists() if extra is not None else task.rechunk > 0:
            build_unlabelled(task, data, Path(folder))
            more = load_data(Path(folder))
            counts = counts._replace(extra=len(more.splits["unlabelled"].labels))
    return counts, _table(data, more, _truncation(task, teacher, data))


def _table(data: "Data", more: "Data | None", truncation: Truncation | None) -> DataTable:
    assert data.report is not None
    told = data.report.model_dump()
    extra = None if more is None or more.report is None else more.report.splits["unlabelled"]
    return DataTable(
        **{name: told[name] for name in ("rows", "hidden", "splits", "remarks")},
        truncation=truncation,
        extra=None if extra is None else extra.model_dump(exclude={"classes"}),
    )


def _truncation(task: TaskConfig, teacher: str, data: "Data") -> Truncation | None:
    """Count the texts that the teacher's tokenizer makes too long; None if it is not here.

    The tokenizer alone is loaded: transformers would take seconds on a login node.
    """
    from tokenizers import Tokenizer

    from lmopt.locations import resolve

    path = Path(resolve(teacher)) / "tokenizer.json"
    if not path.is_file():
        return None
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts, of = {}, {}
    for name, split in data.splits.items():
        some = split.texts[:: -(-len(split.texts) // COUNTED)]
        lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch(some)]
        texts[name] = sum(length > task.max_length for length in lengths)
        of[name] = len(some)
    return Truncation(task.max_length, texts, of)
