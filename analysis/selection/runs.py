"""Several runs side by side: their rows by name, and one front for each processor type."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis.errors import UserError
from analysis.rows.table import load_results
from analysis.rows.units import counted
from analysis.selection.objectives import candidates
from analysis.selection.processors import is_timed, processors, timed_on

Runs = Mapping[str, pd.DataFrame]
# What must be equal for sizes, drops and speed-ups of two runs to mean the same.
_SAME = {
    "teacher_key": "the fine-tuned teacher, which is the baseline of every number",
    "examples_validation": "the validation split",
    "examples_test": "the test split",
    "runtime": "the runtime",
    "threads": "the threads that artifacts are timed with",
    "pad_to_multiple_of": "the lengths that artifacts are timed at",
}


def load_runs(paths: Sequence[str | Path]) -> dict[str, pd.DataFrame]:
    """Return the rows of each run by its folder's name, with parents if two runs share one.

    Raises:
        UserError: No run is given, one is given twice, or there is none at a path.
    """
    places = [Path(path).resolve() for path in paths if str(path)]
    if not places:
        raise UserError("no run given: name the folder of a run or its results.parquet")
    if twice := [str(place) for place, count in Counter(places).items() if count > 1]:
        raise UserError(f"{twice[0]} is given twice; name each run once")
    folders = [place.parent if place.suffix == ".parquet" else place for place in places]
    depth = 1
    while len({_tail(folder, depth) for folder in folders}) < len(folders):
        depth += 1
    return {
        _tail(folder, depth): load_results(place)
        for folder, place in zip(folders, places, strict=True)
    }


def _tail(folder: Path, depth: int) -> str:
    return "/".join(folder.parts[-depth:])


def front_parts(runs: Runs, objectives: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Return rows by their front: one for each run and, if times count, processor type."""
    found = {name: processors(rows) if is_timed(objectives) else [] for name, rows in runs.items()}
    several = len({name for names in found.values() for name in names}) > 1
    parts = {}
    for run, rows in runs.items():
        names = timed_on(rows)
        anywhere = names.isna() | rows["kind"].eq("linear")
        for processor in found[run]:
            label = run if not several else processor if len(runs) == 1 else f"{run}, {processor}"
            parts[label] = rows[anywhere | names.eq(processor)]
        if not found[run]:
            parts[run] = rows
    return parts


def processor_note(runs: Runs, objectives: Mapping[str, str]) -> str | None:
    """Return a warning if models were timed on different processor types, else None."""
    counts, aside = Counter[str](), Counter[str]()
    for rows in runs.values():
        names = processors(rows)
        for name, count in timed_on(candidates(rows)).dropna().value_counts().items():
            (counts if name in names else aside)[str(name)] += int(count)
    if not is_timed(objectives) or len(counts) + len(aside) < 2:
        return None
    said = []
    if len(counts) > 1:
        named = ", ".join(
            f"{name} ({counted(count, 'model')})" for name, count in counts.most_common()
        )
        said.append(f"Timed on {len(counts)} processor types: {named}; each has its own front.")
    for name, count in aside.most_common():
        said.append(f"{counted(count, 'model')} timed on {name} only, in passing: on no front.")
    return " ".join([*said, "Speed-ups do not compare between processor types."])


def why_not_comparable(runs: Runs) -> str | None:
    """Return why the numbers of the runs do not compare; None if they do."""
    for column, what in _SAME.items():
        seen = {name: _values(rows, column) for name, rows in runs.items()}
        known = {name: values for name, values in seen.items() if values}
        if len({tuple(values) for values in known.values()}) > 1:
            told = "; ".join(f"{name}: {', '.join(values)}" for name, values in known.items())
            return (
                f"these runs differ in {what} ({column}: {told}), so their numbers do not compare"
            )
    return None


def _values(rows: pd.DataFrame, column: str) -> list[str]:
    models = candidates(rows)
    if column not in models:
        return []
    values = models[column]
    if column == "pad_to_multiple_of":  # Rows of before it was one: models took any length.
        values = values.fillna(0).astype(int)
    return sorted(values.dropna().astype(str).unique())
