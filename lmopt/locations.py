"""Resolve the location of a model or data set, and hash its content."""

import importlib.util
import zipfile
from pathlib import Path

from lmopt.errors import UserError
from lmopt.hashing import content_hash, file_hash

FORMATS = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


def resolve(location: str) -> str:
    """Turn `package:<import name>/<path>` into a folder without importing the package.

    An existing path becomes absolute. A hub id is returned unchanged.

    Raises:
        UserError: The package is not installed, or the path does not exist.
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
    if looks_like_a_path or suffix_of(path_on_disk) in FORMATS:
        raise UserError(
            f"no such folder or file: {location} in {Path.cwd()}, and it is no hub id "
            "(<owner>/<name>)"
        )
    return location


def fingerprint(location: str) -> str:
    """Return a hash of the contents of a file or folder, or of a hub id itself.

    The `.git` of a clone is left out, because many git commands write to it.
    """
    path = Path(location)
    if path.is_file():
        return file_hash(path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        files = [p for p in files if ".git" not in p.relative_to(path).parts]
        return content_hash([[str(p.relative_to(path)) for p in files], file_hash(*files)])
    return content_hash(["hub", location])


def suffix_of(path: Path) -> str:
    """Return the suffix of a file in lower case, or that of the one file inside a .gz or .zip.

    The suffix of a .zip with several files is empty.
    """
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return Path(path.stem).suffix.lower()
    if suffix == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = members(archive)
        return Path(names[0]).suffix.lower() if len(names) == 1 else ""
    return suffix


def stem_of(path: Path) -> str:
    """Return a file's name without the suffixes of its compression and its format."""
    name = path.stem if path.suffix.lower() in (".gz", ".zip") else path.name
    return name.removesuffix(Path(name).suffix) if Path(name).suffix.lower() in FORMATS else name


def members(archive: zipfile.ZipFile) -> list[str]:
    """Return the files in a .zip, without the folders and the shadow files that macOS adds."""
    names = archive.namelist()
    return [name for name in names if not name.endswith("/") and not name.startswith("__MACOSX/")]
