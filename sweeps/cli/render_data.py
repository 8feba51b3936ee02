"""Print the table of a sweep's data."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

SHOWN_CLASSES = 12
COLUMNS = ("read", "used", "documents")
MARKS = ("duplicates", "conflicts", "near_duplicates")
HEADERS = ("read", "used", "docs", "dupl.", "confl.", "near")  # Short, for 80 characters.


def print_data(found: dict[str, Any], console: Console) -> None:
    """Print the texts of each split and class, and what to know about them."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("split", no_wrap=True)
    table.add_column("class", overflow="ellipsis", max_width=20)
    truncation = found["truncation"]
    for header in (*HEADERS, *["cut off"] * bool(truncation)):
        table.add_column(header, justify="right", no_wrap=True)
    for name, split in found["splits"].items():
        numbers = [f"{split[column]:,}" for column in (*COLUMNS, *MARKS)]
        cut = [_cut(truncation, name)] if truncation else []
        table.add_row(name, "all", *numbers, *cut, style="bold")
        for label, counts in list(split["classes"].items())[:SHOWN_CLASSES]:
            table.add_row("", label, *(f"{counts[column]:,}" for column in COLUMNS))
        if len(split["classes"]) > SHOWN_CLASSES:
            table.add_row("", _others(list(split["classes"].values())[SHOWN_CLASSES:]))
    console.print(table)
    for line in _lines(found):
        console.print(Text(line, style="dim"), soft_wrap=True)


def _cut(truncation: dict[str, Any], name: str) -> str:
    share = truncation["texts"][name] / max(1, truncation["of"][name])
    return f"{100 * share:.1f} %"


def _others(classes: list[dict[str, int]]) -> str:
    used = [counts["used"] for counts in classes]
    return f"{len(used)} more: {min(used):,} to {max(used):,}"


def _lines(found: dict[str, Any]) -> list[str]:
    """Say in words what the numbers do not."""
    extra, truncation = found["extra"], found["truncation"]
    lines = list(found["remarks"])
    if extra is not None:
        lines.append(
            f"extra texts: {extra['used']:,} of {extra['read']:,} are used, {extra['duplicates']:,}"
            f" are repeated and {extra['near_duplicates']:,} share a part with held-out texts"
        )
    legend = (
        "confl.: duplicates with another label; near: sharing a part with train or held-out texts"
    )
    if truncation is not None:
        legend += f"; cut off: longer than {truncation['max_length']} of the teacher's tokens"
    return [*lines, legend]
