"""Where texts come from: a hub id, a folder or a file, read into columns per split."""

import math
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lmopt.config.task import TaskConfig, UnlabelledConfig
from lmopt.errors import UserError
from lmopt.locations import LOADERS, resolve, suffix_of

SPLIT_NAMES = {"train": "train", "validation": "validation", "dev": "validation", "test": "test"}


class Rows(NamedTuple):
    """Raw examples: three lists of one length. Equal groups belong to one document."""

    texts: list[str]
    labels: list[str | int]
    groups: list[str]


def read_rows(task: TaskConfig) -> tuple[dict[str, Rows], list[str] | None]:
    """Read a dataset into `{"train": ..., ...}`, or `{"all": ...}` where it has no splits.

    The second value holds the label names if the dataset defines them (then labels are indices).
    Raises ValueError for an unknown place, a missing column, an empty text, a missing label.
    """
    location = resolve(task.dataset)
    path = Path(location)
    if path.is_dir() and any(path.glob("*/*.txt")) and not (path / "dataset_info.json").exists():
        return {"all": _read_class_folders(path)}, None
    tables = _load_tables(location)
    if len(tables) == 1:
        tables = {"all": next(iter(tables.values()))}
    else:
        tables = {SPLIT_NAMES[n]: table for n, table in tables.items() if n in SPLIT_NAMES}
    if not tables.keys() & {"all", "train"}:
        raise UserError(f"{task.dataset} has no train split: name one of its splits 'train'")
    rows = {name: _read_columns(table, task, name) for name, table in tables.items()}
    feature = next(iter(tables.values())).features[task.label_column]
    return rows, getattr(feature, "names", None)


def read_texts(config: UnlabelledConfig) -> list[str]:
    """Read the texts of all splits of a dataset, of the *.txt of a folder, or of a txt's lines.

    Empty texts are left out. Raises ValueError for an unknown place or a missing column.
    """
    location = resolve(config.dataset)
    path = Path(location)
    files = [] if (path / "dataset_info.json").exists() else sorted(path.rglob("*.txt"))
    if path.is_dir() and files:
        texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    elif path.is_file() and path.suffix == ".txt":
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    else:
        texts = []
        for table in _load_tables(location).values():
            if config.text_column not in table.column_names:
                there = ", ".join(table.column_names)
                raise UserError(
                    f"no column {config.text_column!r} (task.unlabelled.text_column) in "
                    f"{config.dataset}: it has {there}"
                )
            texts += table[config.text_column]
    return [text for text in texts if isinstance(text, str) and text.strip()]


def _read_class_folders(path: Path) -> Rows:
    rows = Rows([], [], [])
    for file in sorted(path.glob("*/*.txt")):
        text = file.read_text(encoding="utf-8", errors="replace")
        name = f"{file.parent.name}/{file.name}"
        if not text.strip():
            raise UserError(f"empty text in {name}: fill or remove the file ({path})")
        rows.texts.append(text)
        rows.labels.append(file.parent.name)
        rows.groups.append(name)
    return rows


def _load_tables(location: str) -> Mapping[str, Any]:
    """Load `{split: datasets.Dataset}` from the hub, a saved folder, or data files."""
    import datasets

    datasets.disable_progress_bars()
    path = Path(location)
    if not path.exists():
        try:
            return dict(datasets.load_dataset(location))
        except Exception as error:  # The library raises a dozen kinds, network errors among them.
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"dataset {location!r} is no file, folder or hub id: {reason}"
            ) from None
    if (path / "dataset_dict.json").exists() or (path / "dataset_info.json").exists():
        saved = datasets.load_from_disk(location)
        return dict(saved) if isinstance(saved, datasets.DatasetDict) else {"all": saved}
    files = (
        [path] if path.is_file() else sorted(p for p in path.iterdir() if suffix_of(p) in LOADERS)
    )
    if not files or any(suffix_of(p) not in LOADERS for p in files):
        raise UserError(
            f"no data in {location}: expected a folder saved by datasets, <class>/*.txt, "
            f"or {', '.join(LOADERS)} files (or one of these as .gz or alone in a .zip)"
        )
    return {_split_name(p, len(files)): _load_file(p) for p in files}


def _split_name(path: Path, files: int) -> str:
    """`train.csv` and `train-00000.csv` are the train split; a lone file is all there is."""
    stem = path.stem.split("-")[0].lower()
    if stem in SPLIT_NAMES:
        return SPLIT_NAMES[stem]
    if files == 1:
        return "all"
    raise UserError(f"{path.name} is no split: call the files train, validation and test")


def _load_file(path: Path) -> Any:
    import datasets

    suffix = suffix_of(path)
    # "null" and "NA" are words of a text, not missing values.
    options = {"keep_default_na": False} if LOADERS[suffix] == "csv" else {}
    if suffix == ".tsv":
        options["sep"] = "\t"  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:  # The library's own cache would grow for ever.
        try:
            return datasets.load_dataset(
                LOADERS[suffix],
                data_files=str(path),
                split="train",
                cache_dir=folder,
                keep_in_memory=True,
                **options,
            )
        except Exception as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise UserError(f"{path} is not a readable {suffix} file: {reason}") from None


def _read_columns(table: Any, task: TaskConfig, split: str) -> Rows:
    for field in ("text_column", "label_column", "group_column"):
        column = getattr(task, field)
        if column is not None and column not in table.column_names:
            there = ", ".join(table.column_names)
            raise UserError(
                f"no column {column!r} (task.{field}) in {task.dataset}: it has {there}"
            )
    texts, labels = list(table[task.text_column]), list(table[task.label_column])
    for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"empty text in row {row} of {split} ({task.dataset}): fill or drop it")
        if _is_missing(label):
            raise UserError(
                f"missing label in row {row} of {split} ({task.dataset}): fill or drop it"
            )
    groups: Iterable[object] = range(len(texts))
    if task.group_column is not None:
        groups = table[task.group_column]
    kept = [i for i, label in enumerate(labels) if label != -1]  # The hub's mark for "hidden".
    groups = list(groups)
    return Rows(
        [texts[i] for i in kept],
        [_label(labels[i]) for i in kept],
        [f"{groups[i]}" if task.group_column else f"{split}/{groups[i]}" for i in kept],
    )


def _is_missing(label: object) -> bool:
    if isinstance(label, float):
        return math.isnan(label)
    return label is None or (isinstance(label, str) and label.strip().lower() in {"", "nan"})


def _label(label: object) -> str | int:
    """Integers stay integers (1.0 from a csv too), everything else is a name."""
    if isinstance(label, (bool, str)):
        return str(label)
    if isinstance(label, (int, float)) and float(label).is_integer():
        return int(label)
    return str(label)
