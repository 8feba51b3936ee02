"""The answer at the top of a report: which model to take, how sure that is, and what it costs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.rows.recipes import describe, method_settings
from analysis.rows.records import records
from analysis.rows.schema import BATCHES
from analysis.rows.seeds import seedless
from analysis.rows.table import final_attempts
from analysis.rows.units import counted, format_value
from analysis.selection.objectives import candidates, quality_objective
from analysis.selection.processors import main_processor, processors, timed_processor
from analysis.selection.recommendation import best_combination, loses_too_much
from analysis.statistics.uncertainty import critical_value
from analysis.tables.methods_and_front import why_rough, with_share


@dataclass(frozen=True)
class Summary:
    """What one would take, in words; `trial` is None where nothing was found.

    `worth_it` is False where that too loses so much that one would take nothing.
    """

    trial: int | None
    worth_it: bool
    rule: str
    settings: str
    facts: dict[str, str]
    cautions: list[str]
    artifact_path: str | None


def summarize(rows: pd.DataFrame, objectives: Mapping[str, str]) -> Summary:
    """The best combination with its numbers and everything that speaks against trusting them.

    Args:
        rows: one run's, on one processor type (the most frequent one counts otherwise).
    """
    rows = main_processor(rows, objectives)
    best, rule = best_combination(rows, objectives)
    if best.empty:
        return Summary(None, False, rule, "", {}, _cautions_of_run(rows), None)
    (row,) = records(with_share(best, rows))
    path = row.get("artifact_path")
    return Summary(
        trial=int(row["trial"]),
        worth_it=not loses_too_much(best, rows, objectives),
        rule=rule,
        settings=describe(method_settings(row)),
        facts=_facts(row),
        cautions=[*_cautions(row, rows, objectives), *_cautions_of_run(rows)],
        artifact_path=path if isinstance(path, str) else None,
    )


def _facts(row: Mapping[str, Any]) -> dict[str, str]:
    facts = {
        "Size": f"{format_value('size_bytes', row['size_bytes'])} MB"
        + _if(row.get("size_share"), lambda share: f", {1 / share:.1f}× smaller than the teacher"),
        "Test accuracy": f"{format_value('accuracy_test', row.get('accuracy_test'))}"
        + _if(row.get("examples_test"), lambda n: f" on {counted(int(n), 'example')}")
        + _if(row.get("groups_test"), lambda n: f" of {counted(int(n), 'document')}"),
        "Lost against the teacher": _interval(row),
    }
    for batch in BATCHES:
        value = row.get(f"speedup_{batch}")
        if isinstance(value, float) and not math.isnan(value):
            ends = [row.get(f"speedup_{batch}_{end}") for end in ("low", "high")]
            spread = "" if pd.isna(ends).any() else f" ({ends[0]:.1f} to {ends[1]:.1f})"  # type: ignore[attr-defined]
            facts[f"Speed at batch {batch[1:]}"] = (
                f"{value:.1f}× the fp32 teacher's{spread}"
                + _if(row.get(f"speedup_{batch}_vs_16"), lambda x: f", {x:.1f}× its 16-bit form's")
                + _if(row.get(f"latency_{batch}_p50_ms"), lambda ms: f"; median {ms:.2f} ms")
            )
    measured: list[Any] = [row.get("runtime"), timed_processor(row)]
    threads = _if(row.get("threads"), lambda n: f"{n:.0f} thread{'s' if n > 1 else ''}")
    padded = _if(
        row.get("pad_to_multiple_of"),
        lambda n: f"texts padded to multiples of {n:.0f}" if n else "",
    )
    said = [str(m) for m in [*measured, threads, padded] if m and not pd.isna(m)]
    facts["Measured with"] = ", ".join(said)
    return facts


def _if(value: Any, text: Any) -> str:
    return "" if value is None or pd.isna(value) else str(text(value))


def _interval(row: Mapping[str, Any]) -> str:
    drop, error = row.get("accuracy_drop_test"), row.get("accuracy_drop_test_se")
    if drop is None or pd.isna(drop):
        return "unknown"
    text = f"{100 * drop + 0.0:.1f} points"
    if error is None or pd.isna(error):
        return text
    if error == 0 and drop == 0:  # Source: Hanley and Lippman-Hand (1983), the rule of three.
        count = row.get("groups_test")
        if count is None or pd.isna(count):
            return f"{text}: no difference was found"
        bound = min(300 / count, 100)
        return (
            f"{text}: as many right in every document; up to {bound:.1f} % of documents may differ"
        )
    reach = _reach(row)
    low, high = (100 * (drop + sign * reach) + 0.0 for sign in (-1, 1))
    return f"{text}, 95 % interval {low:.1f} to {high:.1f} (in pairs, by document)"


def _reach(row: Mapping[str, Any]) -> float:
    """How far the 95 % interval of what is lost on the test split reaches to each side."""
    groups = row.get("groups_test")
    factor = critical_value(None if pd.isna(groups) else float(groups))  # type: ignore[arg-type, call-overload]
    return factor * float(row["accuracy_drop_test_se"])


def _cautions(
    row: Mapping[str, Any], rows: pd.DataFrame, objectives: Mapping[str, str]
) -> list[str]:
    found = []
    drop, error = row.get("accuracy_drop_test"), row.get("accuracy_drop_test_se")
    if not pd.isna(drop) and not pd.isna(error) and drop - _reach(row) <= 0:
        found.append("No loss against the teacher is shown: its interval includes zero.")
    seen = row.get("accuracy_drop_validation")
    if not pd.isna(drop) and not pd.isna(seen) and drop - seen > 0.005:
        found.append(
            f"It loses {100 * (drop - seen):.1f} points more on test than on validation, where it "
            "was chosen among many: believe the test number."
        )
    if not pd.isna(drop) and not pd.isna(seen) and seen - drop > max(0.005, _spread(row)):
        found.append(
            f"It loses {100 * (seen - drop):.1f} points more on validation, where it was chosen, "
            f"than on test: {100 * seen:.1f} there. The test split may flatter it."
        )
    found += _if_one_document(row)
    if (seeds := _seeds(row, rows)) < 2:
        found.append(
            "It was trained once, with one seed; how much another seed moves it is not in any "
            "interval here."
        )
    else:
        found.append(f"Its recipe was trained with {seeds} seeds.")
    if why := why_rough(row):
        found.append(f"Take its speed as rough: {why}.")
    return found + _against_linear(row, rows, quality_objective(objectives))


def _if_one_document(row: Mapping[str, Any]) -> list[str]:
    groups = row.get("groups_test")
    if pd.isna(groups) or groups != 1:  # type: ignore[call-overload]
        return []
    return ["The test split is one document: nothing says how sure its accuracy and its loss are."]


def _spread(row: Mapping[str, Any]) -> float:
    """The standard error between what is lost on test and on validation; unknown ones are zero."""
    errors = [row.get(f"accuracy_drop_{split}_se") for split in ("test", "validation")]
    return math.hypot(*(0.0 if pd.isna(error) else float(error) for error in errors))


def _seeds(row: Mapping[str, Any], rows: pd.DataFrame) -> int:
    """How many completed models have the row's recipe but for the seed."""
    (own,) = seedless(pd.DataFrame([row]))
    return int(seedless(candidates(rows)).eq(own).sum())


def _against_linear(row: Mapping[str, Any], rows: pd.DataFrame, quality: str) -> list[str]:
    linear = rows[rows["kind"].eq("linear") & rows["state"].eq("COMPLETE")]
    name = quality.replace("_validation", "_test")
    if linear.empty or name not in linear or pd.isna(linear[name].iloc[0]) or pd.isna(row[name]):
        return []
    gain = row[name] - float(linear[name].iloc[0])
    size = format_value("size_bytes", linear["size_bytes"].iloc[0])
    if gain > 0.05:
        return []
    points = round(100 * gain, 1)
    than = f"only {points} points better" if points > 0 else f"{-points} points worse"
    than = than if points else "no better"
    return [f"It is {than} than TF-IDF with logistic regression ({size} MB)."]


def _cautions_of_run(rows: pd.DataFrame) -> list[str]:
    final = final_attempts(rows[rows["kind"].ne("linear")])
    bad = int(final["state"].isin(["FAIL", "LOST"]).sum())
    found = []
    if bad:
        found.append(f"No result of {bad} of {counted(len(final), 'trial')}; see the causes below.")
    if len(processors(rows)) > 1:
        found.append("Models were measured on several processor types.")
    return found
