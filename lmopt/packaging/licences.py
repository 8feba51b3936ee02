"""The licence of a model or data set, read from files on this machine only."""

import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lmopt.locations import resolve

UNKNOWN = "unknown"


class Licence(NamedTuple):
    """The name of a licence and the source that states it."""

    name: str
    source: str


def licences_of(location: str) -> list[Licence]:
    """Return the licences that the card and the pip package of a location state.

    The network is not used. An empty list means that no licence is known.
    """
    found = []
    place = Path(resolve(location))
    if place.exists():
        folder = place if place.is_dir() else place.parent
        named = card_licence(folder / "README.md")
        source = "the README.md beside it"
    else:
        named = card_licence(_cached_card(location))
        source = "its card in the local hub cache"
    if named is not None:
        found.append(Licence(named, source))
    if location.startswith("package:"):
        name = location.removeprefix("package:").partition("/")[0]
        found += _package_licences(name)
    return found


def card_licence(card: Path | None) -> str | None:
    """Return the `license` of a card's front matter; None if it has none."""
    if card is None or not card.is_file():
        return None
    text = card.read_text(encoding="utf-8", errors="replace")
    head = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    try:
        values: Any = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        return None
    named = values.get("license") if isinstance(values, dict) else None
    return str(named[0] if isinstance(named, list) and named else named) if named else None


def _cached_card(repository: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for kind in ("model", "dataset"):
        found = try_to_load_from_cache(repository, "README.md", repo_type=kind)
        if isinstance(found, str):
            return Path(found)
    return None


def _package_licences(import_name: str) -> list[Licence]:
    found = []
    for package in metadata.packages_distributions().get(import_name, []):
        about = metadata.metadata(package).json
        named = str(about.get("license_expression") or about.get("license") or "")
        if named and "\n" not in named:
            source = f"the metadata of the package {package} {metadata.version(package)}"
            found.append(Licence(named, source))
    return found


def common_licence(parts: Sequence[Sequence[Licence]]) -> str:
    """Return the licence that all parts name first, in lower case as on the hub, or "unknown"."""
    first = {part[0].name.lower() if part else UNKNOWN for part in parts}
    return first.pop() if len(first) == 1 else UNKNOWN


def licence_text(found: Sequence[Licence]) -> str:
    """Return the licences and their sources in words."""
    return "; ".join(f"{name} (says {source})" for name, source in found) or UNKNOWN
