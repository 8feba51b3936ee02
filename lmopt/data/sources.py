"""Where texts come from: a hub id, a folder or a file, read into the rows of each split."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmopt.config.task import TaskConfig, UnlabelledConfig
from lmopt.data.decoding import read_text
from lmopt.data.files import read_file
from lmopt.data.labels import is_blank
from lmopt.data.rows import Rows, Source, make_source
from lmopt.data.shards import SPLIT_NAMES, data_files, files_by_split, files_in, some
from lmopt.data.tables import Request, Table, check_columns
from lmopt.errors import UserError
from lmopt.locations import resolve


def read_rows(task: TaskConfig) -> Source:
    """Read a dataset into the rows of "train", ..., or of "all" where it has no splits.

    Raises:
        ValueError: An unknown place, a missing column or shard, an empty text, a missing label.
    """
    location = resolve(task.dataset)
    path = _data_folder(Path(location))
    if folders := _class_files(path):
        return _read_class_folders(path, folders, task)
    fields = {name: f"task.{name}" for name in ("text_column", "label_column", "group_column")}
    columns = {getattr(task, name): field for name, field in fields.items()}
    columns.pop(None, None)
    request = Request(columns, task, "task")
    notes: list[str] = []
    if path.exists() and not _is_saved(path):
        files = files_by_split(path)
        tables = {split: [read_file(p, request) for p in paths] for split, paths in files.items()}
    else:
        loaded, notes = _named_splits(_load(location, path), task.dataset)
        tables = {name: [_from_dataset(data, name, request)] for name, data in loaded.items()}
    if not tables.keys() & {"all", "train"}:
        raise UserError(f"{task.dataset} has no train split: name one of its splits 'train'")
    return make_source(tables, task, notes)


def read_texts(config: UnlabelledConfig) -> list[str]:
    """Read the texts of all splits of a dataset, of the *.txt of a folder, or of a txt's lines.

    Empty texts are left out.

    Raises:
        ValueError: An unknown place, a missing column, an unknown encoding.
    """
    section = "task.unlabelled"
    location = resolve(config.dataset)
    path = Path(location)
    request = Request({config.text_column: f"{section}.text_column"}, config, section)
    if path.is_dir() and not _is_saved(path) and (files := sorted(path.rglob("*.txt"))):
        texts = [read_text(file, config.encoding, section=section)[0] for file in files]
    elif path.is_file() and path.suffix == ".txt":
        texts = read_text(path, config.encoding, section=section)[0].splitlines()
    else:
        path = _data_folder(path)
        if path.exists() and not _is_saved(path):
            tables = [read_file(file, request) for file in data_files(path)]
        else:
            loaded = _load(location, path)
            tables = [_from_dataset(data, name, request) for name, data in loaded.items()]
        texts = [text for table in tables for text in table.columns[config.text_column]]
    return [text for text in texts if isinstance(text, str) and not is_blank(text)]


def _data_folder(path: Path) -> Path:
    """Return a folder, or its `data` where a clone from the hub has its files."""
    inside = path / "data"
    if not inside.is_dir() or _is_saved(path) or _class_files(path) or files_in(path):
        return path
    return inside


def _is_saved(path: Path) -> bool:
    """Whether `datasets` has saved a data set there."""
    return any((path / name).exists() for name in ("dataset_dict.json", "dataset_info.json"))


def _class_files(path: Path) -> list[Path]:
    """Return `<class>/*.txt` of a folder; hidden files and folders are no texts."""
    if not path.is_dir() or _is_saved(path):
        return []
    files = sorted(path.glob("*/*.txt"))
    return [file for file in files if not {file.name[0], file.parent.name[0]} & {"."}]


def _read_class_folders(path: Path, files: Sequence[Path], task: TaskConfig) -> Source:
    rows, empty, stray = Rows([], [], []), [], []
    for file in files:
        text, has_stray = read_text(file, task.encoding, section="task")
        name = f"{file.parent.name}/{file.name}"
        if has_stray:
            stray.append(name)
        if is_blank(text):
            empty.append(name)
        rows.texts.append(text)
        rows.labels.append(file.parent.name)
        rows.groups.append(name)
    if empty:
        raise UserError(f"empty text in {some(empty)}: fill or remove the files ({path})")
    notes = [f"bytes that are not UTF-8 are read as \ufffd in {some(stray)}"] if stray else []
    return Source({"all": rows}, notes=notes)


def _load(location: str, path: Path) -> dict[str, Any]:
    """Load `{split: datasets.Dataset}` from the hub, or from a folder saved by `datasets`."""
    import datasets

    datasets.disable_progress_bars()
    if path.exists():
        saved = datasets.load_from_disk(str(path))
        return dict(saved) if isinstance(saved, datasets.DatasetDict) else {"all": saved}
    try:
        return dict(datasets.load_dataset(location))
    except Exception as error:  # The library raises a dozen kinds, network errors among them.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"dataset {location!r} is no file, folder or hub id: {reason}") from None


def _named_splits(loaded: Mapping[str, Any], dataset: str) -> tuple[dict[str, Any], list[str]]:
    """Return the splits by the names that they have here, and a note on those that are not used."""
    if len(loaded) == 1:
        return {"all": next(iter(loaded.values()))}, []
    named: dict[str, Any] = {}
    for name, data in loaded.items():
        split = SPLIT_NAMES.get(name)
        if split in named:
            raise UserError(f"{dataset} has two {split} splits (dev and validation): keep one")
        if split is not None:
            named[split] = data
    unused = [name for name in loaded if name not in SPLIT_NAMES]
    return named, [f"splits that are not used: {', '.join(unused)}"] if unused else []


def _from_dataset(data: Any, name: str, request: Request) -> Table:
    check_columns(data.column_names, request, f"split {name}")
    columns = {column: list(data[column]) for column in request.columns}
    declared = {column: getattr(data.features[column], "names", None) for column in columns}
    classes = {column: list(names) for column, names in declared.items() if names is not None}
    return Table(f"split {name}", "row", range(1, len(data) + 1), columns, classes=classes)
