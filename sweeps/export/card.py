"""What the model card of a trial says: its row, the rows it is compared with, its run."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.rows.schema import BATCHES
from analysis.rows.table import final_attempts
from analysis.rows.units import counted
from analysis.selection.objectives import candidates
from analysis.selection.processors import timed_processor
from analysis.statistics.uncertainty import critical_value
from analysis.tables.methods_and_front import why_rough
from lmopt.methods.base import Names
from lmopt.packaging.licences import common_licence, licence_text, licences_of
from lmopt.packaging.model_card import (
    Measurement,
    bullets,
    front_matter,
    measurement_table,
    megabytes,
    model_card,
    shown_place,
    storage_in_words,
)
from lmopt.pipeline.prepare import Prepared
from sweeps.export.artifacts import recipe_of
from sweeps.export.choose import Choice
from sweeps.run.directory import Run
from sweeps.run.files import read_json

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Exported:
    """The exported model as it was checked: its format, its bytes, what a fresh process measured.

    `note` says in one line what the format holds, or how the check differs from the row;
    `measured` is the line of the table, None where the trial's own is the exported model's.
    """

    form: str
    note: str | None
    measured: Measurement | None


def write_card(
    run: Run,
    rows: pd.DataFrame,
    choice: Choice,
    prepared: Prepared,
    exported: Exported,
    path: Path,
) -> None:
    """Write the model card of a trial."""
    row = choice.row
    recipe = recipe_of(run, row)
    student = run.sweep.student.model if recipe.base == "student" else None
    parts = {"base model": student or run.sweep.teacher.model, "data": run.sweep.task.dataset}
    if student is not None:
        parts["teacher"] = run.sweep.teacher.model
    licences = {name: licences_of(place) for name, place in parts.items()}
    sections = {
        "What was done": _recipe_text(run, row, student),
        "Measured": _measured_text(run, rows, row, choice.how, exported),
        "How to run it": _usage_text(exported),
        "Data": _data_text(run, prepared),
        "Limits": _limits_text(run, rows, row),
        "Provenance": _provenance_text(run, row),
        "Licences": bullets(
            [
                *(f"{n} {shown_place(parts[n])}: {licence_text(licences[n])}" for n in parts),
                "`usage.py` and this card: Apache-2.0, as lmopt",
            ]
        )
        + "\n\nWhat is unknown here must be found out before the model is passed on.",
    }
    card = model_card(
        _front_matter(run, row, student, exported, [licences[n] for n in parts if n != "data"]),
        f"{run.sweep.name}, trial {row['trial']}",
        {"Summary": _summary(row, prepared, exported)} | sections,
    )
    path.write_text(card, encoding="utf-8")


def _summary(row: Row, prepared: Prepared, exported: Exported) -> str:
    shown = exported.measured or trial_line(row)
    labels = ", ".join(prepared.label_names[:20])
    text = f"A text classifier ({len(prepared.label_names)} labels: {labels})"
    if shown.size_bytes is not None:
        text += f" of {megabytes(shown.size_bytes)} MB"
    if shown.accuracy is not None:
        found = _interval(shown.accuracy, shown.accuracy_se, row.get("groups_test"))
        text += f" with a test accuracy of {found}"
    return f"{text}.\n\n{exported.note or ''}"


def _interval(value: float, error: float | None, groups: int | None) -> str:
    if error is None or math.isnan(error):
        return f"{100 * value:.1f} %"
    reach = critical_value(groups) * error
    low, high = max(0.0, value - reach), min(1.0, value + reach)
    return f"{100 * value:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})"


def _recipe_text(run: Run, row: Row, student: str | None) -> str:
    names = Names(
        teacher=shown_place(run.sweep.teacher.model),
        student=None if student is None else shown_place(student),
        extra_texts=run.sweep.task.has_extra_texts,
    )
    return bullets(recipe_of(run, row).sentences(names))


def trial_line(row: Row, name: str = "") -> Measurement:
    """The table's line of a row; what it does not have stays empty."""

    def get(column: str) -> Any:
        value = row.get(column)
        return None if value is None or pd.isna(value) else value

    speedups = {
        f"batch {batch[1:]}": (
            float(row[f"speedup_{batch}"]),
            float(row[f"speedup_{batch}_low"]),
            float(row[f"speedup_{batch}_high"]),
        )
        for batch in BATCHES
        if all(get(f"speedup_{batch}{end}") is not None for end in ("", "_low", "_high"))
    }
    return Measurement(
        name=name,
        size_bytes=get("size_bytes"),
        accuracy=get("accuracy_test"),
        accuracy_se=get("accuracy_test_se"),
        drop=get("accuracy_drop_test"),
        drop_se=get("accuracy_drop_test_se"),
        speedups=speedups,
    )


def _measured_text(run: Run, rows: pd.DataFrame, row: Row, how: str, exported: Exported) -> str:
    final = final_attempts(rows)
    final = final[final["state"].eq("COMPLETE")]
    runtime = row["runtime"]
    named = {
        f"baseline: the teacher, fp32, in {runtime}": final[final["method"].eq("baseline")],
        "TF-IDF with logistic regression": final[final["kind"].eq("linear")],
    }
    lines = [] if exported.measured is None else [exported.measured]
    own = "this model" if exported.measured is None else "the trial it was made from"
    lines.append(trial_line(row, f"{own}: {storage_in_words(recipe_of(run, row))} in {runtime}"))
    for name, found in named.items():
        lines += [trial_line(dict(found.iloc[0]), name)] if len(found) else []
    table = measurement_table(lines, [f"batch {batch[1:]}" for batch in BATCHES])
    return f"{table}\n\n{_how_text(row, how)}"


def _how_text(row: Row, how: str) -> str:
    """How the numbers were taken, against what, and how sure they are."""
    said = [
        "± is one standard error, clustered by document; drop is against the baseline's test "
        "accuracy in pairs, positive is worse",
        "speed-up is against the baseline in the same runtime, timed in turn on "
        f"{row['threads']} thread(s) of {timed_processor(row)}; brackets are 95 % intervals",
    ]
    if multiple := row.get("pad_to_multiple_of"):
        said.append(
            f"texts are timed padded to multiples of {multiple} tokens, the model compiled for "
            "each such length"
        )
    for batch in BATCHES:
        if row.get(f"latency_{batch}_p50_ms") is not None:
            against = row.get(f"speedup_{batch}_vs_16")
            said.append(
                f"latency at batch {batch[1:]}: median {row[f'latency_{batch}_p50_ms']:.2f} ms, "
                f"90th percentile {row[f'latency_{batch}_p90_ms']:.2f} ms"
                + (f"; {against:.1f}x against the teacher in 16 bits" if against else "")
            )
    if why := why_rough(row):
        said.append(f"read the speeds as rough: {why}")
    if row.get("macro_f1_test") is not None:
        said.append(f"macro F1 on the test split: {100 * row['macro_f1_test']:.1f} %")
    return bullets([*said, how])


def _usage_text(exported: Exported) -> str:
    return (
        f'```\npython usage.py "some text"\n```\n\nFormat: {exported.form}. `usage.py` names what '
        "it needs and does not need lmopt; `sha256sum -c SHA256SUMS` checks the files."
    )


def _data_text(run: Run, prepared: Prepared) -> str:
    task, splits = run.sweep.task, prepared.data.splits
    said = [f"{shown_place(task.dataset)}; labels: {', '.join(prepared.label_names)}"]
    for name, split in splits.items():
        groups = len(set(split.groups.tolist()))
        said.append(
            f"{name}: {counted(len(split.labels), 'example')} of {counted(groups, 'document')}"
        )
    if task.chunk_min_words is not None:
        said.append(f"sentences of a document packed to at least {task.chunk_min_words} words")
    said.append(f"texts are truncated to {task.max_length} tokens; split by document")
    return bullets(said)


def _limits_text(run: Run, rows: pd.DataFrame, row: Row) -> str:
    models = candidates(rows)
    tried, seeds = len(models), models["seed"].nunique()
    seed = (
        f"{seeds} seeds were tried, this is seed {row['seed']}"
        if seeds > 1
        else f"one seed ({row['seed']})"
    )
    said = [
        f"made for these labels, this kind of text and up to {run.sweep.task.max_length} tokens; "
        "nothing was measured outside of that",
        f"one of {counted(tried, 'model')} tried, on one split; {seed}; a difference within two "
        "standard errors is no difference",
        "speed was measured on one processor type only; another one has another ratio",
        "no test of fairness, robustness or calibration was made",
    ]
    if recipe_of(run, row).sparsity > 0:
        said.append("zeros among its weights make its file no smaller and its runtime no faster")
    return bullets(said)


def _provenance_text(run: Run, row: Row) -> str:
    provenance = read_json(run.path / "provenance.json") or {}
    versions = json.loads(row["versions"]) if row.get("versions") else provenance.get("versions")
    known = {
        "run": run.name,
        "trial": f"{row['trial']}, attempt {row['attempt']}",
        "recipe": f"`{row['recipe_json']}`",
        "commit": row.get("git_commit") or provenance.get("git_commit"),
        "artifact hash": row.get("artifact_hash"),
        "teacher key": row.get("teacher_key"),
        "processor": row.get("processor"),
        **({"timed on": timed} if (timed := timed_processor(row)) != row.get("processor") else {}),
        "versions": ", ".join(f"{name} {value}" for name, value in (versions or {}).items()),
        "finished": row.get("finished_utc"),
    }
    return bullets([f"{name}: {value or 'unknown'}" for name, value in known.items()])


def _front_matter(
    run: Run, row: Row, student: str | None, exported: Exported, licences: Sequence[Any]
) -> str:
    base, dataset = student or run.sweep.teacher.model, run.sweep.task.dataset
    shown = exported.measured or trial_line(row)
    return front_matter(
        name=f"{run.sweep.name}-trial-{row['trial']}",
        licence=common_licence(licences),
        library=exported.form,
        tags=["lmopt", *recipe_of(run, row).tags()],
        base_model=base if _is_hub(base) else None,
        dataset=shown_place(dataset),
        hub_dataset=_is_hub(dataset),
        accuracy=shown.accuracy,
    )


def _is_hub(location: str) -> bool:
    return not location.startswith("package:") and not Path(location).expanduser().exists()
