"""The model card of an exported model: text made of plain values, with the hub's front matter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lmopt.methods.recipe import Recipe

CARD = "README.md"
CLASSIFICATION = "text-classification"
Speedup = tuple[float, float, float]
"""(ratio against the baseline, lower end, upper end of its 95 % interval)"""


@dataclass(frozen=True)
class Measurement:
    """One line of the table: the measurements of a model, None if they are missing.

    `accuracy` and `drop` are shares with standard errors. `drop` is the paired difference from the
    baseline, and a positive one is worse. `speedups` are by batch size.
    """

    name: str
    size_bytes: int | None
    accuracy: float | None
    accuracy_se: float | None
    drop: float | None = None
    drop_se: float | None = None
    speedups: Mapping[str, Speedup] = field(default_factory=dict)


def storage_in_words(recipe: Recipe) -> str:
    """Return the storage of the weights for a table, for example "4 bits" or "8 clusters"."""
    clustered = recipe.clusters is not None
    own = recipe.embedding_clusters if clustered else recipe.embedding_bits
    said = f"{recipe.clusters} clusters" if clustered else f"{recipe.bits} bits"
    return f"{said} (embeddings {own})" if own else said


def measurement_table(lines: Sequence[Measurement], batches: Sequence[str]) -> str:
    """Return a Markdown table: ± is one standard error, brackets are 95 % intervals."""
    speeds = [f"speed-up, {batch}" for batch in batches]
    head = ["", "size, MB", "test accuracy, %", "drop, points", *speeds]
    rows = [head, ["---"] * len(head)]
    for line in lines:
        cells = [line.name, megabytes(line.size_bytes)]
        cells += [
            _with_error(line.accuracy, line.accuracy_se),
            _with_error(line.drop, line.drop_se),
        ]
        cells += [_speedup(line.speedups.get(batch)) for batch in batches]
        rows.append(cells)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def megabytes(size_bytes: int | None) -> str:
    """Return bytes as megabytes with two decimals, or two significant digits below 0.1 MB."""
    if size_bytes is None or size_bytes >= 1e5:
        return _number(size_bytes, 1e-6, 2)
    return f"{size_bytes / 1e6:.2g}"


def _number(value: float | None, factor: float, decimals: int) -> str:
    # Adding 0.0 turns -0.0 into 0.0.
    return "–" if value is None else f"{round(factor * value, decimals) + 0.0:.{decimals}f}"


def _with_error(value: float | None, error: float | None) -> str:
    shown = _number(value, 100, 1)
    return shown if value is None or error is None else f"{shown} ± {100 * error:.1f}"


def _speedup(speedup: Speedup | None) -> str:
    if speedup is None:
        return "–"
    ratio, low, high = speedup
    return f"{ratio:.1f}x [{low:.1f}, {high:.1f}]"


def front_matter(
    *,
    name: str,
    licence: str,
    library: str,
    tags: Sequence[str],
    base_model: str | None,
    dataset: str,
    hub_dataset: bool,
    accuracy: float | None,
) -> str:
    """Return the card's metadata for the hub, between two lines of dashes."""
    from huggingface_hub import EvalResult, ModelCardData

    results = []
    if accuracy is not None:
        results.append(
            EvalResult(
                task_type=CLASSIFICATION,
                dataset_type=dataset,
                dataset_name=dataset,
                dataset_split="test",
                metric_type="accuracy",
                metric_name="test accuracy",
                metric_value=round(accuracy, 4),
            )
        )
    data = ModelCardData(
        base_model=base_model,
        datasets=[dataset] if hub_dataset else None,
        eval_results=results or None,
        library_name=library,
        license=licence,
        metrics=["accuracy"],
        model_name=name,
        pipeline_tag=CLASSIFICATION,
        tags=[CLASSIFICATION, *tags],
    )
    return f"---\n{data.to_yaml()}\n---\n"


def model_card(matter: str, title: str, sections: Mapping[str, str]) -> str:
    """Return the whole card: front matter, title, and a section for each name."""
    body = "\n\n".join(f"## {name}\n\n{text.strip()}" for name, text in sections.items())
    return f"{matter}\n# {title}\n\n{body}\n"


def bullets(lines: Sequence[str]) -> str:
    """Return the lines as a Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def shown_place(location: str) -> str:
    """Return the location of a model or data set without the folders of this machine."""
    path = Path(location).expanduser()
    return path.name if path.is_absolute() or path.exists() else location
