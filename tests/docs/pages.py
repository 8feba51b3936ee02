"""The project's pages, taken apart: code blocks, headings, tables, links."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README, RUSSIAN = ROOT / "README.md", ROOT / "README.ru.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, RUSSIAN, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *DOCS]
TUTORIAL = ROOT / "docs" / "tutorial.md"

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"\d+(?:\.\d+)?")


class Block(NamedTuple):
    """A fenced block; `name` is the file that its first line, a comment, says it is."""

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str | None:
        found = re.match(r"# ([\w./-]+\.yaml)\n", self.text)
        return found[1] if found else None


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the fenced blocks of a page, of some languages only if there are any given."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(page.name, text.count("\n", 0, match.start()) + 1, match[1], match[2])
        for match in BLOCK.finditer(text)
    ]
    return [block for block in found if not languages or block.language in languages]


def commands(page: Path) -> list[str]:
    """Return the lines of all shell blocks of a page, without comments."""
    lines = [line for block in blocks(page, "bash") for line in block.text.splitlines()]
    return [line for line in (without_comment(line) for line in lines) if line]


def without_comment(line: str) -> str:
    """Return a line of shell or YAML without what a reader alone is told."""
    return re.sub(r"(^|\s)#\s.*$", "", line).rstrip()


def prose(page: Path) -> str:
    """Return a page without its blocks."""
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def headings(page: Path) -> list[int]:
    """Return the level of each heading."""
    return [len(marks) for marks in re.findall(r"^(#+) ", prose(page), re.MULTILINE)]


def table_rows(page: Path) -> list[list[str]]:
    """Return the numbers in each cell of each row of all tables, as text."""
    rows = re.findall(r"^\|(.*)\|$", prose(page), re.MULTILINE)
    return [[" ".join(NUMBER.findall(cell)) for cell in row.split("|")] for row in rows]


def links(page: Path) -> list[str]:
    """Return where the links and pictures of a page lead, in their order."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def tracked_pages() -> set[Path]:
    """Return every Markdown file of the project's root and `docs`."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md", "docs/*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    return {ROOT / name for name in listed if name.count("/") <= 1}
