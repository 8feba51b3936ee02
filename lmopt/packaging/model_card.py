"""The model card of an exported model: text from plain values, front matter as the hub reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmopt.config.recipe import EPOCHS, Recipe

CARD = "README.md"
CLASSIFICATION = "text-classification"
Speedup = tuple[float, float, float]
"""Ratio against the baseline with the ends of its 95 % interval."""


@dataclass(frozen=True)
class Measurement:
    """One line of the table: a model as it was measured; None for what was not.

    `accuracy` and `drop` (against the baseline, in pairs; positive is worse) are shares with
    standard errors, `speedups` are by batch size.
    """

    name: str
    size_bytes: int | None
    accuracy: float | None
    accuracy_se: float | None
    drop: float | None = None
    drop_se: float | None = None
    speedups: Mapping[str, Speedup] = field(default_factory=dict)


def recipe_in_words(
    recipe: Recipe, *, teacher: str, student: str | None, extra_texts: bool
) -> list[str]:
    """What was done to the teacher, one sentence a step; a field unknown here by its name.

    Fields at their defaults mean that nothing was done and are left out.
    """
    given = recipe.model_dump(exclude_defaults=True)
    said = [
        *_start(given, teacher, student),
        *_training(given, recipe, extra_texts),
        *_storage(given, recipe),
    ]
    steps = [text for _, text in said]
    for name in given.keys() - {name for names, _ in said for name in names}:
        about = Recipe.model_fields[name].description
        steps.append(f"`{name}`: {given[name]}" + (f" ({about.rstrip('.')})" if about else ""))
    return steps


_Said = tuple[set[str], str]  # The fields that a sentence tells of, and the sentence.
_CHOICES = {
    "even": "evenly spaced, the last included",
    "first": "the first ones",
    "last": "the last ones",
    "importance": "those that change their input most",
}
_CRITERIA = {
    "magnitude": "of each encoder matrix set to zero by magnitude",
    "global_magnitude": "of the encoder's weights set to zero by magnitude, all matrices together",
    "wanda": "of each encoder matrix set to zero by magnitude times input norm (Wanda)",
}


def _start(given: Mapping[str, Any], teacher: str, student: str | None) -> list[_Said]:
    layers, fields = given.get("layers"), {"base", "layers", "layer_choice"}
    from_student = given.get("base") == "student" and student is not None
    origin = f"the checkpoint {student}" if from_student else f"the fine-tuned teacher {teacher}"
    head = ", with a new head" if from_student else ""
    if layers == 0:
        width, hidden = (given.get(n, _default(n)) for n in ("static_width", "static_hidden"))
        fields |= {"static_width", "static_hidden"}
        start = (
            f"Started from static embeddings without encoder layers: one vector of {width} numbers "
            f"a token, made from {origin}, and a new head of {hidden} units."
        )
    elif layers:
        choice = _CHOICES[given.get("layer_choice", "even")]
        start = f"Started from {origin} with {layers} of its encoder layers ({choice}){head}."
    else:
        start = f"Started from {origin}{head or ', all layers'}."
    return [(fields, start), *_cuts(given)]


def _cuts(given: Mapping[str, Any]) -> list[_Said]:
    """What is taken away before anything is trained."""
    said: list[_Said] = []
    if (least := given.get("vocabulary_min_count")) is not None:
        times = "" if least <= 1 else f" at least {least} times"
        text = f"Vocabulary cut to what the training texts use{times} and what spells other words."
        said.append(({"vocabulary_min_count"}, text))
    if width := given.get("hidden_size"):
        text = f"Hidden states narrowed to {width} by principal components."
        said.append(({"hidden_size"}, text))
    return said


def _default(name: str) -> Any:
    return Recipe.model_fields[name].default


def _training(given: Mapping[str, Any], recipe: Recipe, extra_texts: bool) -> list[_Said]:
    said: list[_Said] = []
    epochs, recovery = given.get("epochs", 0), given.get("recovery_epochs", 0)
    if imitated := given.get("pretrain_epochs"):
        most = given.get("pretrain_examples")
        count = "the task's extra" if most is None else f"at most {most:,} extra"
        text = f"Trained for {_epochs(imitated)} on the teacher's hidden states of training texts"
        extra = f" and of {count} texts" if extra_texts and most != 0 else ""
        said.append(({"pretrain_epochs", "pretrain_examples"}, f"{text}{extra}."))
    if epochs:
        said.append(({"epochs"}, f"Distilled for {_epochs(epochs)}{_loss(recipe)}."))
    if {"ffn_keep", "heads_keep"} & given.keys():
        kept = f"{100 * recipe.ffn_keep:g} % of the FFN neurons, {100 * recipe.heads_keep:g} %"
        trained = given.get("structure_epochs", 0)
        how = f"in training for {_epochs(trained)}{_loss(recipe)}" if trained else "at once"
        fields = {"ffn_keep", "heads_keep", "structure_epochs"}
        said.append((fields, f"Pruned to {kept} of the attention heads, {how}."))
    if given.get("sparsity"):
        after = f", then recovered for {_epochs(recovery)}{_loss(recipe)}" if recovery else ""
        share = f"{100 * recipe.sparsity:g} % {_CRITERIA[recipe.sparsity_criterion]}"
        fields = {"sparsity", "sparsity_criterion", "recovery_epochs"}
        said.append((fields, f"Pruned: {share}{after}."))
    rate = "static_learning_rate" if recipe.layers == 0 else "learning_rate"
    trained = ("train_examples", "batch_size", rate, "dropout", "freeze_embeddings")
    settings = [f"{name.replace('_', ' ')} {given[name]}" for name in trained if name in given]
    if stored := given.get("finetune_epochs"):
        text = f"Trained for {_epochs(stored)} with the weights as they are stored."
        said.append(({"finetune_epochs"}, text))
    learned = any(given.get(name) for name in EPOCHS)
    if learned and settings:
        seed = f"Training: {', '.join(settings)}, seed {recipe.seed}."
        said.append(({*trained, "seed", "temperature", "alpha"}, seed))
    elif learned:
        said.append(({"seed", "temperature", "alpha"}, f"Training seed {recipe.seed}."))
    return said


def _epochs(count: float) -> str:
    return "1 epoch" if count == 1 else f"{count:g} epochs"


def _loss(recipe: Recipe) -> str:
    if recipe.alpha == 0:
        return " on the labels alone"
    soft = f"{recipe.alpha:g} x soft loss at temperature {recipe.temperature:g}"
    hard = f" + {1 - recipe.alpha:g} x loss on the labels" if recipe.alpha < 1 else ""
    return f" on {soft}{hard}"


def _storage(given: Mapping[str, Any], recipe: Recipe) -> list[_Said]:
    if recipe.clusters is not None:
        said = f"Weights of a matrix share {recipe.clusters} values (a codebook)"
        own = given.get("embedding_clusters")
        said += f", those of embeddings {own}" if own else ", embeddings included"
        return [({"clusters", "embedding_clusters", "bits"}, f"{said}.")]
    if "bits" not in given:
        return [(set(), "Weights stored in 32 bits, not quantized.")]
    own = given.get("embedding_bits")
    said = f"Weights stored in {recipe.bits} bits, embeddings {f'in {own}' if own else 'included'}"
    if acts := given.get("activation_bits"):
        said += f"; matrix products in {acts}-bit integers, calibrated on training text"
    return [({"bits", "embedding_bits", "activation_bits"}, f"{said}.")]


def storage_in_words(recipe: Recipe) -> str:
    """How the weights are stored, for a line of a table: "4 bits", "8 clusters"."""
    clustered = recipe.clusters is not None
    own = recipe.embedding_clusters if clustered else recipe.embedding_bits
    said = f"{recipe.clusters} clusters" if clustered else f"{recipe.bits} bits"
    return f"{said} (embeddings {own})" if own else said


def method_tags(recipe: Recipe) -> list[str]:
    """The card's tags: the methods that a canonical recipe uses."""
    given = recipe.model_dump(exclude_defaults=True)
    tags = [tag for tag, names in _TAGS.items() if given.keys() & names]
    return [*tags, "static-embeddings"] if recipe.layers == 0 else tags


_TAGS = {
    "distillation": {"epochs", "hidden_size"},
    "vocabulary-trimming": {"vocabulary_min_count"},
    "factorization": {"embedding_rank"},
    "pruning": {"sparsity", "ffn_keep", "heads_keep"},
    "weight-clustering": {"clusters"},
    "quantization": {"bits", "embedding_bits", "activation_bits"},
}


def measurement_table(lines: Sequence[Measurement], batches: Sequence[str]) -> str:
    """A Markdown table: ± is one standard error, brackets are 95 % intervals."""
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
    """Bytes as megabytes, in two decimals; of kilobytes the first two digits."""
    if size_bytes is None or size_bytes >= 1e5:
        return _number(size_bytes, 1e-6, 2)
    return f"{size_bytes / 1e6:.2g}"


def _number(value: float | None, factor: float, decimals: int) -> str:
    # Adding 0.0 takes the sign off a zero.
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
    """The card's metadata as the hub reads it, between two lines of dashes."""
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
    """The whole card: front matter, title, then a section for each name."""
    body = "\n\n".join(f"## {name}\n\n{text.strip()}" for name, text in sections.items())
    return f"{matter}\n# {title}\n\n{body}\n"


def bullets(lines: Sequence[str]) -> str:
    """Lines as a Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def shown_place(location: str) -> str:
    """A model's or data set's place without the folders of this machine."""
    path = Path(location).expanduser()
    return path.name if path.is_absolute() or path.exists() else location
