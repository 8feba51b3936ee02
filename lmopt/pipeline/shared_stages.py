"""The stages that all trials share: data, tokens, teacher, artifacts and evaluation.

Each function takes earlier stages and returns its own, which `lmopt.stages.cache` loads or builds.
The key of a stage depends on everything that determines its content.
"""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmopt.config.models import TeacherConfig
from lmopt.config.task import DEFAULT_KIND, TaskConfig
from lmopt.data import extra_texts as unlabelled
from lmopt.data.batches import Examples
from lmopt.data.dataset import Data, load_data
from lmopt.data.report import FILE as REPORT_FILE
from lmopt.data.tokens import TOKENS_VERSION, load_tokens, save_tokens
from lmopt.hashing import content_hash
from lmopt.locations import fingerprint, resolve
from lmopt.measurement import measure
from lmopt.methods.recipe import Recipe
from lmopt.models import loading as models
from lmopt.pipeline import teacher
from lmopt.runtimes.config import RuntimeConfig
from lmopt.runtimes.manifest import read_manifest
from lmopt.runtimes.registry import processor_of, runtime_named, runtime_versions
from lmopt.stages.cache import Build, Stage, remove_stage
from lmopt.stages.context import Walk
from lmopt.tasks.base import check_finite
from lmopt.tasks.registry import task_of
from lmopt.training.calibration import calibration_texts
from lmopt.training.device import pick_device
from lmopt.training.trainer import predict_logits

LOGITS_VERSION = 1


def data_stage(walk: Walk, task: TaskConfig) -> Data:
    """Return the task's texts, labels and documents per split."""
    parameters = task.data_parameters()
    parameters |= {"content": fingerprint(resolve(task.dataset))} | _kind(task)
    reader = task_of(task.kind)
    stage = _reported_stage(
        walk,
        "data",
        lambda folder, _: reader.build_data(task, folder),
        reader.data_version,
        parameters,
        [],
    )
    return reader.load_data(stage.path)


def _kind(task: TaskConfig) -> dict[str, str]:
    """Return the task's part of a key. The default task has none, which keeps its old keys."""
    return {} if task.kind == DEFAULT_KIND else {"kind": task.kind}


def _reported_stage(
    walk: Walk,
    name: str,
    build: Build,
    stage_version: int,
    parameters: dict[str, Any],
    parents: list[str],
) -> Stage:
    """Load or build a stage that contains a report of its data.

    A stage without a report comes from an older lmopt that read some data wrongly, for example one
    shard of several. It is built again under the same key. Correct data keeps its content, so later
    stages do not change.
    """
    stage = walk.stage(name, build, stage_version, parameters, parents)
    if (stage.path / REPORT_FILE).exists():
        return stage
    with contextlib.suppress(OSError):  # A read-only cache stays unchanged.
        remove_stage(stage.path)
    walk.times.pop()
    return walk.stage(name, build, stage_version, parameters, parents)


def unlabelled_stage(walk: Walk, task: TaskConfig, data: Data) -> Data | None:
    """Return the task's extra texts as the one split "unlabelled"; None without extra texts."""
    if not task.has_extra_texts:
        return None
    parameters = task.extra_text_parameters()
    if task.unlabelled is not None:
        parameters["content"] = fingerprint(resolve(task.unlabelled.dataset))
    stage = _reported_stage(
        walk,
        "unlabelled",
        lambda folder, _: unlabelled.build_unlabelled(task, data, folder),
        unlabelled.VERSION,
        parameters,
        [data.key],
    )
    return load_data(stage.path)


def tokens_stage(walk: Walk, data: Data, model: str | Path, task: TaskConfig) -> Stage:
    """Return the tokens of every split, from the tokenizer of `model`."""
    tokenizer = models.load_tokenizer(model)
    models.check_length(model, task.max_length)
    encode = task_of(task.kind).encode

    def build(folder: Path, _: Path) -> None:
        texts = {name: split.texts for name, split in data.splits.items()}
        tokens = {n: encode(tokenizer, t, task.max_length) for n, t in texts.items()}
        save_tokens(folder / "tokens.npz", tokens)

    parameters = {"tokenizer": tokenizer_hash(tokenizer), "max_length": task.max_length}
    parameters |= _kind(task)
    return walk.stage("tokens", build, TOKENS_VERSION, parameters, [data.key])


def tokenizer_hash(tokenizer: Any) -> str:
    """Return a hash of everything that determines a tokenizer's output.

    Saving and loading a tokenizer does not change it.
    """
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        return content_hash(tokenizer.backend_tokenizer.to_str())
    return content_hash([type(tokenizer).__name__, tokenizer.get_vocab()])


def teacher_stage(
    walk: Walk, data: Data, tokens: Stage, config: TeacherConfig, task: TaskConfig
) -> Stage:
    """Return the teacher, fine-tuned on the task."""

    def build(folder: Path, scratch: Path) -> None:
        train = load_tokens(tokens.path / "tokens.npz")["train"]
        examples = Examples(train, data.splits["train"].labels)
        teacher.build_teacher(
            task_of(task.kind),
            config,
            data.label_names,
            examples,
            walk.device,
            folder,
            scratch,
            walk.progress,
        )

    parameters = config.model_dump(exclude={"model"})
    parameters |= {"content": fingerprint(resolve(config.model)), "labels": data.label_names}
    parameters |= _kind(task)
    return walk.stage("teacher", build, teacher.VERSION, parameters, [data.key, tokens.key])


def logits_stage(
    walk: Walk,
    runtime: RuntimeConfig,
    teacher: Stage,
    artifact: Path,
    tokens: Stage,
    split: str = "train",
) -> Stage:
    """Return the teacher's logits of a split, computed once for all trials.

    Without a GPU the 16-bit `artifact` computes them, in half of torch's time. The key depends on
    the artifact in either case, so that all jobs of a sweep find the same logits.
    """

    def build(folder: Path, _: Path) -> None:
        path = tokens.path / "tokens.npz"
        if pick_device(walk.device).type == "cpu":
            logits = measure.evaluate(
                artifact,
                path,
                [split],
                threads=walk.threads,
                device=runtime.device,
                stage="teacher_logits",
                progress=walk.progress,
            )[split]
        else:
            model = models.load_classifier(teacher.path)
            texts = load_tokens(path)[split]
            logits = predict_logits(model, texts, device=walk.device, progress=walk.progress)
        check_finite({split: logits})
        np.save(folder / "logits.npy", logits)

    parameters = {"artifact": read_manifest(artifact).hash} | runtime_versions(runtime.name)
    parents = [teacher.key, tokens.key]
    return walk.stage("teacher_logits", build, LOGITS_VERSION, parameters, parents)


def artifact_stage(
    walk: Walk,
    runtime: RuntimeConfig,
    model: Stage,
    recipe: Recipe,
    storage: dict[str, Any],
    tokens: Stage,
    max_length: int,
) -> Stage:
    """Return the artifact of a saved classifier, with its matrices stored as the recipe defines."""
    name = runtime.name
    maker = runtime_named(name)
    stored: dict[str, Any] = {"bits": recipe.bits}
    if maker.takes_plans:
        stored = storage | recipe.model_dump(include={"activation_bits", "rounding"})
    looks_at_texts = recipe.activation_bits is not None or recipe.rounding != "nearest"

    def build(folder: Path, _: Path) -> None:
        texts = calibration_texts(tokens, model.path) if looks_at_texts else []
        maker.build(model.path, max_length, folder, stored, texts)

    parameters = {"runtime": name, "max_length": max_length} | stored | runtime_versions(name)
    parents = [model.key, tokens.key] if looks_at_texts else [model.key]
    return walk.stage("artifact", build, maker.version, parameters, parents)


def evaluate_stage(
    walk: Walk, runtime: RuntimeConfig, artifact: Path, tokens: Stage
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the artifact's logits (n, classes) of validation and test on this processor.

    Raises:
        NotFiniteError: They are NaN or infinite.
    """

    def build(folder: Path, _: Path) -> None:
        path = tokens.path / "tokens.npz"
        splits = ("validation", "test")
        arrays: dict[str, Any] = measure.evaluate(
            artifact,
            path,
            splits,
            threads=walk.threads,
            device=runtime.device,
            progress=walk.progress,
        )
        np.savez(folder / "logits.npz", **arrays)

    manifest = read_manifest(artifact)
    parameters = {
        "artifact": manifest.hash,
        "precision": manifest.precision,
        "processor": processor_of(runtime.name, runtime.device),
    } | runtime_versions(runtime.name)
    stage = walk.stage("evaluate", build, measure.VERSION, parameters, [tokens.key])
    with np.load(stage.path / "logits.npz") as arrays:
        outputs = dict(arrays)
    check_finite(outputs)
    return outputs
