"""Resolve a model's or data set's location, and hash what lies there."""

import importlib.util
import zipfile
from pathlib import Path

from lmopt.errors import UserError
from lmopt.hashing import content_hash, file_hash

LOADERS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".parquet": "parquet",
}


def resolve(location: str) -> str:
    """Turn `package:<import name>/<path>` into a folder without importing the package.

    A path that exists becomes absolute; anything else (a hub id) is returned as it is.
    """
    if location.startswith("package:"):
        name, _, path = location.removeprefix("package:").partition("/")
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
        roots = spec.submodule_search_locations if spec else None
        if not roots:
            raise UserError(f"package {name!r} is not installed (in {location!r}): pip install it")
        folder = Path(next(iter(roots))) / path
        if not folder.exists():
            raise UserError(f"no {path!r} inside the installed package {name!r} ({location!r})")
        return str(folder)
    path_on_disk = Path(location).expanduser()
    if path_on_disk.exists():
        return str(path_on_disk.resolve())
    looks_like_a_path = location.startswith((".", "/", "~")) or location.count("/") > 1
    if looks_like_a_path or suffix_of(path_on_disk) in LOADERS:
        raise UserError(
            f"no such folder or file: {location} in {Path.cwd()}, and it is no hub id "
            "(<owner>/<name>)"
        )
    return location


def fingerprint(location: str) -> str:
    """Hash of the contents of a file or folder; of the id itself for the hub."""
    path = Path(location)
    if path.is_file():
        return file_hash(path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        return content_hash([[str(p.relative_to(path)) for p in files], file_hash(*files)])
    return content_hash(["hub", location])


def suffix_of(path: Path) -> str:
    """What a file is, compressed or not; a zip is what the one file in it is."""
    if path.suffix == ".gz":
        return Path(path.stem).suffix
    if path.suffix == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        return Path(names[0]).suffix if len(names) == 1 else ""
    return path.suffix
