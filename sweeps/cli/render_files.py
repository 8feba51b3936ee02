"""Print what the commands about models and disk found."""

import os

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lmopt.packaging.usage_script import USAGE
from sweeps.disk.usage import Disk
from sweeps.export.export import Result
from sweeps.export.reproduce import Reproduction
from sweeps.run.files import quoted


def disk_line(disk: Disk) -> str:
    """Return the disk use in one line."""
    return (
        f"disk {size_text(disk.total_bytes)}: {len(disk.kept_trials)} artifacts kept, spare models "
        f"{size_text(disk.spare_bytes)} of at most {size_text(disk.limit_bytes)}"
    )


def print_disk(disk: Disk, console: Console) -> None:
    """Print a table for people."""
    trials = ", ".join(str(trial) for trial in disk.kept_trials)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for name, size, meaning in (
        ("run", disk.run_bytes, "rows, logs, report"),
        ("kept", disk.kept_bytes, f"artifacts of trials {trials}" if trials else "no artifact yet"),
        ("shared", disk.shared_bytes, "data, teacher and baselines, once for all trials"),
        (
            "spare",
            disk.spare_bytes,
            f"models that save work, at most {size_text(disk.limit_bytes)}",
        ),
        ("removable", disk.removable_bytes, "goes with the next pruning (--prune: now)"),
        ("total", disk.total_bytes, ""),
    ):
        table.add_row(name, size_text(size), meaning)
    if disk.others_bytes:
        table.add_row("others", size_text(disk.others_bytes), "kept by other runs with this cache")
    console.print(table)


def size_text(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def print_result(result: Result, console: Console) -> None:
    """Print what was exported, and what to do with it."""
    path = os.path.relpath(result.dest)
    console.print(f"trial {result.trial}: {result.rule}", soft_wrap=True)
    console.print(
        f"{path}: {result.form}, {result.size_bytes / 1e6:.2f} MB of model files, "
        f"{result.folder_bytes / 1e6:.2f} MB in all, test accuracy "
        f"{100 * result.accuracy_test:.1f} %, checked in a fresh process",
        soft_wrap=True,
    )
    if result.note:
        console.print(Text(result.note, style="yellow"), soft_wrap=True)
    console.print(f'try it: python {quoted(f"{path}/{USAGE}")} "some text"', soft_wrap=True)


def shown_value(
    value: float | str, error: float | None = None, interval: tuple[float, float] | None = None
) -> str:
    if interval:
        return f"{value:.2f}x [{interval[0]:.2f}, {interval[1]:.2f}]"
    if not isinstance(value, float):
        return str(value)
    return f"{100 * value:.2f}{'' if error is None else f' ± {100 * error:.2f}'} %"


def print_reproduction(found: Reproduction, console: Console) -> None:
    """Print a comparison for people."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for header in (f"trial {found.trial}", "recorded", "now", ""):
        table.add_column(header, overflow="fold")
    words = {True: "same", False: "DIFFERS", None: ""}
    for one in found.comparisons:
        same = "same" if one.recorded == one.now else words[one.same]
        shown = "within" if same == "same" and found.changed and one.same else same
        recorded = shown_value(one.recorded, one.recorded_se, one.recorded_interval)
        table.add_row(one.name, recorded, shown_value(one.now, interval=one.now_interval), shown)
    console.print(table)
    for line in found.explanation:
        console.print(Text(line), soft_wrap=True)
    verdict = "reproduced" if found.reproduced else "NOT reproduced"
    style = "green" if found.reproduced else "red"
    console.print(Text(f"trial {found.trial}: {verdict}", style=style))
