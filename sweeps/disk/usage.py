"""`lmopt disk`: what a run has on disk, what of it stays, what the next pruning removes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sweeps.disk.retention import bytes_on_disk, kept_rows, limit_bytes, plan_cache
from sweeps.run.directory import Run


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
    limit, spare = limit_bytes(run), _total(plan.spare)
    excess = max(0, spare - limit)
    return Disk(
        kept_trials=sorted(int(trial) for trial in kept_rows(run)["trial"]),
        run_bytes=bytes_on_disk(run.path),
        kept_bytes=_total(plan.kept),
        shared_bytes=_total(plan.shared),
        spare_bytes=spare - excess,
        removable_bytes=_total(plan.removable) + excess,
        others_bytes=_total(plan.others),
        limit_bytes=limit,
    )


def _total(paths: Sequence[Path]) -> int:
    return sum(map(bytes_on_disk, paths))
