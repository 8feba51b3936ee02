"""Is an exported folder what was measured? It is loaded in a fresh process to see."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.rows.metrics import score_column
from analysis.statistics.uncertainty import critical_value
from lmopt.data.tokens import Tokens, load_tokens
from lmopt.environment import processor_name
from lmopt.errors import UserError
from lmopt.measurement.evaluation import predict
from lmopt.measurement.measure import evaluate
from lmopt.models.loading import load_classifier
from lmopt.packaging.formats import model_files, stored_bits
from lmopt.packaging.model_card import Measurement
from lmopt.packaging.reload import evaluate_folder
from lmopt.packaging.usage_script import USAGE, run_usage
from lmopt.pipeline.prepare import Prepared
from lmopt.pipeline.shared_stages import tokens_stage
from lmopt.progress import Progress
from lmopt.runtimes.manifest import Manifest, hash_files
from lmopt.runtimes.pytorch.session import session_of
from lmopt.stages.context import Walk
from lmopt.tasks.base import NotFiniteError, check_finite
from lmopt.tasks.registry import task_of
from sweeps.definition.errors import CheckFailedError, ConfigError
from sweeps.export.card import Exported
from sweeps.run.rows import quality, quality_drop

SPLITS = ("validation", "test")  # Together, as the trial was evaluated: the batches are the same.
COMPARED = 64  # Texts on which an exported model's logits are compared with torch's.
TOLERANCE = {32: 1e-4, 16: 1e-2}  # Of the largest logit, by the width of the weights.
SAME_PROBABILITY = 0.02  # One text has no padding companions: dynamic quantization and bf16 differ.
Logits = npt.NDArray[np.float32]


class ExportError(CheckFailedError):
    """The exported folder is not what was measured."""


@dataclass(frozen=True)
class Written:
    """A model written into `folder` as `form`; `manifest` is that of the trial's artifact.

    `model` is the torch model that it was made from, None for the artifact as it was measured.
    """

    folder: Path
    form: str
    manifest: Manifest
    model: Path | None


def verify(
    prepared: Prepared,
    row: Mapping[str, Any],
    written: Written,
    *,
    cache: Path,
    threads: int,
    progress: Progress | None = None,
) -> Exported:
    """Load what was written in a fresh process and compare it with the row, or with its model.

    Raises:
        ExportError: It is not the same.
        ConfigError: The format cannot hold this model.
    """
    if progress is not None:
        progress("verify", None)
    walk = Walk(cache, threads)
    # By the exported tokenizer: its tokens are the trial's, or the accuracy is not.
    tokens = tokens_stage(walk, prepared.data, written.folder, prepared.task).path / "tokens.npz"
    if written.model is None:
        logits = evaluate(written.folder, tokens, SPLITS, threads=threads, progress=progress)
        _refuse_not_finite(logits)
        exported = _compare_with_row(prepared, row, written, logits["test"])
    else:
        logits = _reload(row, written, tokens, threads)
        _refuse_not_finite(logits)
        _compare_with_model(written.model, written, tokens, logits["test"])
        exported = _measured_anew(prepared, row, written, logits["test"])
    _check_usage(written.folder, prepared, logits["test"])
    return exported


def _refuse_not_finite(outputs: Mapping[str, Logits]) -> None:
    try:
        check_finite(outputs)
    except NotFiniteError as error:
        raise ExportError(f"its {error}") from None


def scored(prepared: Prepared, logits: Logits) -> Mapping[str, Any]:
    """Return the columns of a row that say how good these test outputs are, and what they lose."""
    task, data = task_of(prepared.task.kind), prepared.data
    reference = prepared.baseline_logits["test"]
    return quality(task, data, "test", logits) | quality_drop(task, data, "test", logits, reference)


def interval(row: Mapping[str, Any], name: str, split: str) -> float:
    """Return how far the 95 % interval of a row's number reaches to each side; 0 if unknown."""
    error = row.get(f"{name}_se")
    return critical_value(row.get(f"groups_{split}")) * error if error else 0.0


def _compare_with_row(
    prepared: Prepared, row: Mapping[str, Any], written: Written, logits: Logits
) -> Exported:
    size, digest = hash_files(written.folder, written.manifest.files)
    main = task_of(prepared.task.kind).metrics[0]
    name = score_column(main.name, "test")
    found, said = scored(prepared, logits)[name], row[name]
    if size != row["size_bytes"]:
        raise ExportError(f"the model files have {size} bytes, the row says {row['size_bytes']}")
    here, notes = processor_name(), []
    allowed = 0.0 if here == row["processor"] else interval(row, name, "test")
    if abs(found - said) > allowed + 1e-9:
        raise ExportError(
            f"test {main.label} is {found:.4f}, the row says {said:.4f}; "
            + (
                f"{here} may differ from {row['processor']} by {allowed:.4f}"
                if here != row["processor"]
                else "on the same processor type they must be equal"
            )
            + (
                ""
                if digest == row["artifact_hash"]
                else "; made again, it has other weights: "
                f"'lmopt reproduce RUN {row['trial']}' says why"
            )
        )
    if found != said:
        notes.append(f"On {here} the test {main.label} is {found:.4f} instead of {said:.4f}")
    if digest != row["artifact_hash"]:
        notes.append(f"Made again from its row: the same size and {main.label}, other weights")
    return Exported(written.form, "; ".join(notes) or None, None)


def _reload(
    row: Mapping[str, Any], written: Written, tokens: Path, threads: int
) -> dict[str, Logits]:
    try:
        return evaluate_folder(
            written.folder,
            written.form,
            tokens,
            SPLITS,
            pad_id=written.manifest.pad_id,
            threads=threads,
        )
    except UserError as error:
        raise ConfigError(
            f"{written.form} cannot hold the model of trial {row['trial']}: {error}; "
            "export it without --format"
        ) from None


def _compare_with_model(model: Path, written: Written, tokens: Path, logits: Logits) -> None:
    """Compare the logits of some texts with those of the model in torch, in fp32."""
    test = load_tokens(tokens)["test"]
    count = min(COMPARED, len(test))
    some = Tokens(test.ids[: test.offsets[count]], test.offsets[: count + 1])
    session = session_of(load_classifier(model))
    expected = predict(session, some, written.manifest.pad_id, lambda _: None)
    allowed = TOLERANCE[stored_bits(written.form, written.manifest.bits)]
    error = float(np.abs(logits[:count] - expected).max() / max(1.0, np.abs(expected).max()))
    if not error <= allowed:  # NaN is not.
        raise ExportError(f"its logits differ from the model's by {error:.2g} of the largest one")


def _measured_anew(
    prepared: Prepared, row: Mapping[str, Any], written: Written, logits: Logits
) -> Exported:
    """The line of the card for a format in which the trial was not measured."""
    bits, measured = stored_bits(written.form, written.manifest.bits), written.manifest.bits
    size = sum((written.folder / name).stat().st_size for name in model_files(written.folder))
    found = scored(prepared, logits)
    line = Measurement(
        f"this folder: {bits} bits in {written.form}",
        size,
        found["accuracy_test"],
        found["accuracy_test_se"],
        found["accuracy_drop_test"],
        found["accuracy_drop_test_se"],
    )
    note = f"The {written.form} format was measured anew for accuracy and size; speed was not"
    mb = f"{size / 1e6:.2f} MB instead of {row['size_bytes'] / 1e6:.2f}"
    if clusters := json.loads(row["recipe_json"]).get(
        "clusters"
    ):  # the manifest's bits are those of the codebook
        note = (
            f"The trial's weights are stored as codebooks of {clusters} values, {written.form} "
            f"holds each in {bits} bits here: {mb}; accuracy was measured anew, speed was not"
        )
    elif bits != measured:
        note = (
            f"The trial has {measured}-bit weights, {written.form} holds {bits}-bit ones here: "
            f"this is the model before they were stored in {measured} bits, "
            f"{mb}; accuracy was measured anew, speed was not"
        )
    return Exported(written.form, note, line)


def _check_usage(folder: Path, prepared: Prepared, logits: Logits) -> None:
    """Run `usage.py` on the test text that the model is surest of."""
    task = task_of(prepared.task.kind)
    answers = [task.answer(outputs, prepared.label_names) for outputs in logits]
    index = max(range(len(answers)), key=lambda i: answers[i][1])
    label, sure = answers[index]
    try:
        said, probability = run_usage(folder, prepared.data.splits["test"].texts[index])
    except RuntimeError as error:
        raise ExportError(str(error)) from error
    if said != label or abs(probability - sure) > SAME_PROBABILITY:
        raise ExportError(
            f"{USAGE} says {said!r} with {probability:.4f}, the model {label!r} with {sure:.4f}"
        )
