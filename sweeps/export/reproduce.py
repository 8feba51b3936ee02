"""`lmopt reproduce`: run a trial again from its row and the run's definition; what is the same?

Where processor type, threads, versions, code and teacher are the same, accuracy and bytes must be;
where one of them differs, accuracy must lie within the recorded interval. Speed never decides.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analysis.rows.schema import BATCHES
from analysis.selection.processors import timed_processor
from lmopt.pipeline.trial import run_recipe
from lmopt.progress import Progress
from sweeps.export.artifacts import recipe_of, teacher_threads, threads_of
from sweeps.export.verify import interval
from sweeps.run.directory import Run
from sweeps.run.prepared import load_prepared
from sweeps.run.provenance import code_commit
from sweeps.run.rows import measured

BYTES_TOLERANCE = 0.01  # Of the size, where another version of a library writes the file.


@dataclass(frozen=True)
class Comparison:
    """One number then and now (accuracies are shares); `same` None: it does not decide.

    `recorded_se` is one standard error, the intervals are the timings' 95 %.
    """

    name: str
    recorded: float | str
    now: float | str
    same: bool | None
    recorded_se: float | None = None
    recorded_interval: tuple[float, float] | None = None
    now_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Reproduction:
    """A trial run again. `changed` are the conditions that differ, `explanation` is in words."""

    trial: int
    reproduced: bool
    from_scratch: bool
    comparisons: list[Comparison]
    changed: list[str]
    explanation: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        return asdict(self)


def reproduce_trial(
    run: Run,
    row: Mapping[str, Any],
    *,
    from_scratch: bool = False,
    progress: Progress | None = None,
) -> Reproduction:
    """Run a trial again in a fresh cache; `from_scratch`: the teacher too, else the run's.

    Raises:
        ConfigError: The row is of another version of lmopt.
    """
    recipe, threads = recipe_of(run, row), threads_of(row)
    # In the run directory: /tmp is often small. It is gone afterwards.
    with tempfile.TemporaryDirectory(prefix="reproduce-", dir=run.path) as folder:
        cache = Path(folder) if from_scratch else run.cache
        prepared = load_prepared(run, teacher_threads(run, threads), progress, cache=cache)
        outcome = run_recipe(
            prepared, recipe, cache=Path(folder), threads=threads, progress=progress
        )
        now = measured(prepared, outcome)
    now |= {"git_commit": code_commit(), "training_threads": threads}
    return compare(row, now, from_scratch=from_scratch)


def compare(row: Mapping[str, Any], now: Mapping[str, Any], *, from_scratch: bool) -> Reproduction:
    """Compare a row with what was measured now, and say in words why what differs does."""
    changed = changed_conditions(row, now)
    comparisons = [
        *(_accuracy(row, now, split, changed) for split in ("test", "validation")),
        _bytes(row, now, changed),
        Comparison("artifact hash", row["artifact_hash"], now["artifact_hash"], None),
        *(_speed(row, now, batch) for batch in BATCHES if row.get(f"speedup_{batch}") is not None),
    ]
    return Reproduction(
        trial=int(row["trial"]),
        reproduced=all(one.same is not False for one in comparisons),
        from_scratch=from_scratch,
        comparisons=comparisons,
        changed=changed,
        explanation=_explain(row, now, comparisons, changed),
    )


def changed_conditions(row: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between then and now of all that a result may depend on."""
    had = len(str(row["cores"]).split(",")) if row.get("cores") else now["training_threads"]
    then = {
        "processor": row["processor"],
        "threads in training": had,
        "commit": row.get("git_commit"),
        "data or teacher (key)": row["teacher_key"],
        **_versions(row),
    }
    today = {
        "processor": now["processor"],
        "threads in training": now["training_threads"],
        "commit": now["git_commit"],
        "data or teacher (key)": now["teacher_key"],
        **_versions(now),
    }
    return [
        f"{name}: {then.get(name) or 'unknown'} then, {today.get(name) or 'unknown'} now"
        for name in then | today
        if then.get(name) != today.get(name)
    ]


def _versions(row: Mapping[str, Any]) -> dict[str, str]:
    return dict(json.loads(row.get("versions") or "{}"))


def _accuracy(
    row: Mapping[str, Any], now: Mapping[str, Any], split: str, changed: list[str]
) -> Comparison:
    name = f"accuracy_{split}"
    error = row.get(f"{name}_se")
    allowed = interval(row, name, split) if changed else 0.0
    same = abs(now[name] - row[name]) <= allowed + 1e-9
    return Comparison(f"{split} accuracy", row[name], now[name], same, recorded_se=error)


def _bytes(row: Mapping[str, Any], now: Mapping[str, Any], changed: list[str]) -> Comparison:
    then, today = int(row["size_bytes"]), int(now["size_bytes"])
    allowed = BYTES_TOLERANCE * then if changed else 0
    return Comparison("bytes", then, today, abs(then - today) <= allowed)


def _speed(row: Mapping[str, Any], now: Mapping[str, Any], batch: str) -> Comparison:
    name = f"speedup_{batch}"
    then, today = ((one[f"{name}_low"], one[f"{name}_high"]) for one in (row, now))
    return Comparison(
        f"speed-up, batch {batch[1:]}",
        row[name],
        now[name],
        None,
        recorded_interval=then,
        now_interval=today,
    )


def _explain(
    row: Mapping[str, Any],
    now: Mapping[str, Any],
    comparisons: list[Comparison],
    changed: list[str],
) -> list[str]:
    said = []
    equal = all(row[name] == now[name] for name in ("accuracy_test", "accuracy_validation"))
    bits = row["artifact_hash"] == now["artifact_hash"]
    wrong = [one.name for one in comparisons if one.same is False]
    if bits:
        said.append("the artifact is the same bit for bit")
    elif equal:
        said.append("the weights differ in some bits, but neither accuracy does")
    if wrong and not changed:
        said.append(
            f"{' and '.join(wrong)} must be the same, as seeds, processor type, threads, versions "
            "and code are: what the run took from its cache was not made by this definition, or "
            "an operation is not deterministic on this machine"
        )
    elif changed and not bits:
        verdict = "more than" if wrong else "no more than"
        said.append(f"it differs by {verdict} the recorded interval allows; {'; '.join(changed)}")
    said += [_explain_speed(row, now, batch) for batch in BATCHES if _is_apart(row, now, batch)]
    return said


def _is_apart(row: Mapping[str, Any], now: Mapping[str, Any], batch: str) -> bool:
    """Whether the intervals of the speed-up then and now do not overlap."""
    if row.get(f"speedup_{batch}") is None:
        return False
    low, high = f"speedup_{batch}_low", f"speedup_{batch}_high"
    return bool(row[low] > now[high] or now[low] > row[high])


def _explain_speed(row: Mapping[str, Any], now: Mapping[str, Any], batch: str) -> str:
    if timed_processor(row) != timed_processor(now):
        why = "another processor has another ratio"
    elif now["timing_noisy"] or row.get("timing_noisy"):
        why = "the reference's own timings scattered"
    elif not row.get("timed_alone"):
        why = "it was timed while other trials ran"
    else:
        why = "something else may run on this machine now; its intervals hold one process's noise"
    return f"the speed-up at batch {batch[1:]} lies outside the recorded interval: {why}"
