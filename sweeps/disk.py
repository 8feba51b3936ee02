"""`lmopt disk`: what a run has on disk, what of it stays, what the next pruning removes."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from sweeps.keep import folder_bytes, kept_rows, limit_bytes, plan_cache
from sweeps.run import Run


@dataclass(frozen=True)
class Disk:
    """Bytes by what becomes of them. `spare`: trained models that may save work, up to `limit`.

    `others` is what other runs with the same cache keep; the total leaves it out.
    """

    kept_trials: list[int]
    run_bytes: int
    kept_bytes: int
    shared_bytes: int
    spare_bytes: int
    removable_bytes: int
    others_bytes: int
    limit_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it but what belongs to other runs."""
        parts = (self.run_bytes, self.kept_bytes, self.shared_bytes)
        return sum(parts) + self.spare_bytes + self.removable_bytes

    def to_json(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        return asdict(self) | {"total_bytes": self.total_bytes}


def read_disk(run: Run) -> Disk:
    """Measure a run's disk use. It looks at every file of the cache."""
    plan = plan_cache(run)
    sizes = {name: sum(map(folder_bytes, paths)) for name, paths in vars(plan).items()}
    limit = limit_bytes(run)
    excess = max(0, sizes["spare"] - limit)
    return Disk(
        kept_trials=sorted(int(trial) for trial in kept_rows(run)["trial"]),
        run_bytes=folder_bytes(run.path),
        kept_bytes=sizes["kept"],
        shared_bytes=sizes["shared"],
        spare_bytes=sizes["spare"] - excess,
        removable_bytes=sizes["removable"] + excess,
        others_bytes=sizes["others"],
        limit_bytes=limit,
    )


def disk_line(disk: Disk) -> str:
    """Return the disk use in one line."""
    return (
        f"disk {_size(disk.total_bytes)}: {len(disk.kept_trials)} artifacts kept, spare models "
        f"{_size(disk.spare_bytes)} of at most {_size(disk.limit_bytes)}"
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
        ("spare", disk.spare_bytes, f"models that save work, at most {_size(disk.limit_bytes)}"),
        ("removable", disk.removable_bytes, "goes with the next pruning (--prune: now)"),
        ("total", disk.total_bytes, ""),
    ):
        table.add_row(name, _size(size), meaning)
    if disk.others_bytes:
        table.add_row("others", _size(disk.others_bytes), "kept by other runs with this cache")
    console.print(table)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"
