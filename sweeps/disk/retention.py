"""What of the cache stays: the artifacts of the front and those asked for; the rest is bounded.

The cache is shared, so all runs with the same cache have a say. A stage that is removed is built
again when somebody wants it, and one that is in use now is never removed (`lmopt.stages.cache`).
"""

import contextlib
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from filelock import FileLock, Timeout

from analysis.rows.table import load_results
from analysis.selection.fronts import front_rows
from analysis.selection.objectives import candidates
from lmopt.hashing import content_hash
from lmopt.stages.cache import GONE, RECORD, last_used, remove_stage
from sweeps.definition.errors import MISTAKES, ConfigError
from sweeps.run.directory import Run, open_run
from sweeps.run.files import read_json, write_json

if TYPE_CHECKING:
    from lmopt.pipeline.prepare import Prepared


log = logging.getLogger("lmopt")
PRUNE_INTERVAL_S = 600
ABANDONED_S = 86_400  # A build that was killed so long ago is not gone on with any more.
_KEY = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Plan:
    """Every stage of the cache by what becomes of it.

    `kept` are artifacts of this run, `shared` is what all its trials start from, `others` what
    other runs keep, `removable` artifacts that nobody keeps. `spare` may save somebody work: what
    goes first comes first, and the models that kept artifacts were made from come last.
    """

    kept: list[Path]
    shared: list[Path]
    others: list[Path]
    removable: list[Path]
    spare: list[Path]


def register(run: Run, prepared: "Prepared", *, threads: int | None = None) -> None:
    """Note what all trials of a run start from, and in the cache that this run uses it.

    `threads` are those of the prepare job: whoever trains the teacher again needs as many.
    """
    stages = [
        prepared.tokens.path,
        prepared.teacher_stage.path,
        prepared.teacher_logits.path,
        prepared.baseline,
        prepared.baseline16,
    ]
    keys = sorted({stage.name for stage in stages})
    path = run.path / "prepared.json"
    threads = threads or (read_json(path) or {}).get("threads")
    write_json(path, {"stages": keys, "threads": threads})
    folder = run.cache / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{content_hash(str(run.path))}.json", {"run": str(run.path)})


def ask_for(run: Run, trials: Sequence[int]) -> None:
    """Keep the artifacts of these trials too.

    Raises:
        ConfigError: One of them is not completed.
    """
    known = set(candidates(load_results(run.path))["trial"])
    for trial in trials:
        if trial not in known:
            raise ConfigError(
                f"trial {trial} has no artifact to keep; completed are: "
                f"{', '.join(str(number) for number in sorted(known)) or 'none'}"
            )
    write_json(
        run.path / "kept.json",
        {"trials": sorted(_asked_for(run) | {int(number) for number in trials})},
    )


def _asked_for(run: Run) -> set[int]:
    return set((read_json(run.path / "kept.json") or {}).get("trials", []))


def kept_rows(run: Run) -> pd.DataFrame:
    """Return the rows whose artifacts stay: the front, the reference points, those asked for."""
    rows = load_results(run.path)
    models = candidates(rows)
    wanted = set(front_rows(rows, run.sweep.objectives)["trial"]) | _asked_for(run)
    return models[models["trial"].isin(wanted) | models["kind"].eq("reference")]


def prune_artifacts(run: Run) -> int:
    """Prune the cache as `prune_cache` does; what goes wrong is logged and ends nothing."""
    try:
        freed = prune_cache(run)
    except (OSError, *MISTAKES) as error:  # a neighbour's run that is newer, a stale handle
        log.warning("the cache was not pruned: %s", error)
        return 0
    except Exception:  # A worker's trials must not end for want of room on a disk that has some.
        log.exception("the cache was not pruned: this is a defect of lmopt")
        return 0
    log.info("%.1f MB of the cache freed", freed / 1e6)
    return freed


def prune_now_and_then(run: Run) -> None:
    """Prune unless somebody just did; workers call it after each trial."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - (run.cache / "prune.stamp").stat().st_mtime < PRUNE_INTERVAL_S:
            return
    prune_artifacts(run)


def prune_cache(run: Run) -> int:
    """Remove artifacts that nobody keeps, and spare stages over the limit; return bytes freed.

    Safe at any moment and from any number of processes: one of them does it.

    Raises:
        UserError: The rows of a run with the same cache cannot be read: what it keeps is unknown.
    """
    freed = 0
    run.cache.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(Timeout), FileLock(run.cache / "prune.lock", timeout=0):
        (run.cache / "prune.stamp").touch()
        plan = plan_cache(run)
        sizes = {path: bytes_on_disk(path) for path in [*plan.removable, *plan.spare]}
        freed += sum(sizes[path] for path in plan.removable if remove_stage(path))
        excess = sum(sizes[path] for path in plan.spare) - limit_bytes(run)
        for path in plan.spare:
            if excess > 0 and remove_stage(path):
                freed += sizes[path]
                excess -= sizes[path]
        freed += _sweep_up(run.cache)
    return freed


def limit_bytes(run: Run) -> int:
    """Return how much of spare stages may stay: the largest limit of the runs that share them."""
    runs = [run, *(other for other in _other_runs(run) if isinstance(other, Run))]
    return round(1e9 * max(one.sweep.resources.spare_disk_gb for one in runs))


def plan_cache(run: Run) -> Plan:
    """Say of every stage in the cache of a run what becomes of it."""
    stages = {path.name: path for path in _stages(run.cache)}
    kept, shared = _needs(run)
    others: set[str] = set()
    for other in _other_runs(run):
        others = others.union(*_needs(other))
    shared |= {key for key, path in stages.items() if path.parent.name == "data"}
    last = {parent for key in kept | others if key in stages for parent in _parents(stages[key])}
    rest = stages.keys() - kept - shared - others
    artifacts = {key for key in rest if stages[key].parent.name == "artifact"}
    used = {key: (key in last, last_used(stages[key])) for key in rest - artifacts}

    def paths(keys: set[str]) -> list[Path]:
        return [stages[key] for key in sorted(keys & stages.keys())]

    return Plan(
        kept=paths(kept - shared),
        shared=paths(shared),
        others=paths(others - kept - shared),
        removable=paths(artifacts),
        spare=[stages[key] for key in sorted(used, key=lambda key: used[key])],
    )


def _needs(run: Run | Path) -> tuple[set[str], set[str]]:
    """Keys of the artifacts that a run keeps, and of the stages that its trials start from.

    Of a run that cannot be read (a definition of an older version) every artifact is kept.
    """
    path = run.path if isinstance(run, Run) else run
    rows = kept_rows(run) if isinstance(run, Run) else candidates(load_results(path))
    artifacts = {Path(place).name for place in rows["artifact_path"].dropna()}
    return artifacts, set((read_json(path / "prepared.json") or {}).get("stages", []))


def _other_runs(run: Run) -> Iterator[Run | Path]:
    """The other runs with the same cache: those beside this one, and those that registered."""
    noted = [read_json(path) or {} for path in sorted(run.cache.glob("runs/*.json"))]
    places = {Path(values["run"]) for values in noted if "run" in values}
    places |= {path.parent.resolve() for path in run.path.parent.glob("*/run.json")}
    for place in sorted(places - {run.path}):
        if (read_json(place / "run.json") or {}).get("cache") != str(run.cache):
            continue
        try:
            yield open_run(place)
        except MISTAKES:
            yield place


def _stages(cache: Path) -> list[Path]:
    return [path for path in cache.glob("*/*") if _KEY.fullmatch(path.name) and path.is_dir()]


def _parents(stage: Path) -> list[str]:
    return list((read_json(stage / RECORD) or {}).get("parents", []))


def _sweep_up(cache: Path) -> int:
    """Remove what killed removers and builders left; return the bytes freed."""
    freed = 0
    for path in [*cache.glob(f"*/*{GONE}"), *cache.glob("*/*.scratch"), *cache.glob("*/*.build-*")]:
        lock = path.with_name(f"{path.name.split('.')[0]}.lock")
        size = bytes_on_disk(path)
        with contextlib.suppress(Timeout, FileNotFoundError), FileLock(lock, timeout=0):
            if path.name.endswith(GONE) or time.time() - path.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)
                freed += size
    return freed


def bytes_on_disk(folder: Path) -> int:
    """Bytes of all files in a folder; what vanishes meanwhile does not count."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(root, name).lstat().st_size
    return total
