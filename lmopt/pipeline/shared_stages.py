"""The stages of the pipeline that all trials share: data, tokens, teacher, artifacts, evaluation.

Each function takes the stages before it and returns its own, loaded or built by
`lmopt.stages.cache`. Its key depends on everything that decides its content.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmopt.config.models import TeacherConfig
from lmopt.config.recipe import Recipe
from lmopt.config.task import EXTRA_TEXT, TaskConfig
from lmopt.data import dataset as datas
from lmopt.data import extra_texts as unlabelled
from lmopt.data.batches import Examples
from lmopt.data.dataset import Data, build_data, load_data
from lmopt.data.tokens import TOKENS_VERSION, load_tokens, save_tokens, tokenize
from lmopt.hashing import content_hash
from lmopt.locations import fingerprint, resolve
from lmopt.measurement import measure
from lmopt.models import loading as models
from lmopt.pipeline import teacher
from lmopt.runtimes.config import RuntimeConfig
from lmopt.runtimes.manifest import read_manifest
from lmopt.runtimes.registry import processor_of, runtime_named, runtime_versions
from lmopt.stages.cache import Stage
from lmopt.stages.context import Walk
from lmopt.training.calibration import calibration_texts
from lmopt.training.device import pick_device
from lmopt.training.trainer import predict_logits

LOGITS_VERSION = 1


def data_stage(walk: Walk, task: TaskConfig) -> Data:
    """The task's texts, labels and documents per split."""
    parameters = task.model_dump(exclude={"dataset", "max_length", *EXTRA_TEXT})
    parameters["content"] = fingerprint(resolve(task.dataset))
    stage = walk.stage(
        "data",
        lambda folder, _: build_data(task, folder),
        datas.VERSION,
        parameters,
        [],
    )
    return load_data(stage.path)


def unlabelled_stage(walk: Walk, task: TaskConfig, data: Data) -> Data | None:
    """Text beside the task's own, as the one split "unlabelled"; None if none is asked for."""
    if not task.has_extra_texts:
        return None
    parameters = task.model_dump(include={*EXTRA_TEXT, "chunk_min_words", "seed"})
    if task.unlabelled is not None:
        parameters["content"] = fingerprint(resolve(task.unlabelled.dataset))
    stage = walk.stage(
        "unlabelled",
        lambda folder, _: unlabelled.build_unlabelled(task, data, folder),
        unlabelled.VERSION,
        parameters,
        [data.key],
    )
    return load_data(stage.path)


def tokens_stage(walk: Walk, data: Data, model: str | Path, max_length: int) -> Stage:
    """The texts of every split as `model`'s tokenizer sees them."""
    tokenizer = models.load_tokenizer(model)
    models.check_length(model, max_length)

    def build(folder: Path, _: Path) -> None:
        texts = {name: split.texts for name, split in data.splits.items()}
        tokens = {n: tokenize(tokenizer, t, max_length) for n, t in texts.items()}
        save_tokens(folder / "tokens.npz", tokens)

    parameters = {"tokenizer": tokenizer_hash(tokenizer), "max_length": max_length}
    return walk.stage("tokens", build, TOKENS_VERSION, parameters, [data.key])


def tokenizer_hash(tokenizer: Any) -> str:
    """Hash of what decides a tokenizer's output; the same before and after saving."""
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        return content_hash(tokenizer.backend_tokenizer.to_str())
    return content_hash([type(tokenizer).__name__, tokenizer.get_vocab()])


def teacher_stage(walk: Walk, data: Data, tokens: Stage, config: TeacherConfig) -> Stage:
    """The fine-tuned teacher."""

    def build(folder: Path, scratch: Path) -> None:
        train = load_tokens(tokens.path / "tokens.npz")["train"]
        examples = Examples(train, data.splits["train"].labels)
        teacher.build_teacher(
            config, data.label_names, examples, walk.device, folder, scratch, walk.progress
        )

    parameters = config.model_dump(exclude={"model"})
    parameters |= {"content": fingerprint(resolve(config.model)), "labels": data.label_names}
    return walk.stage("teacher", build, teacher.VERSION, parameters, [data.key, tokens.key])


def logits_stage(
    walk: Walk,
    runtime: RuntimeConfig,
    teacher: Stage,
    artifact: Path,
    tokens: Stage,
    split: str = "train",
) -> Stage:
    """The teacher's logits of the training (or "unlabelled") split, once for all trials.

    Without a GPU they come from the 16-bit `artifact`: its runtime takes half of torch's time. They
    depend on the artifact wherever they come from, so that all jobs of a sweep find the same ones.
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
    """The artifact of a saved classifier, its matrices stored as the recipe says."""
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
    """Logits (n, classes) of validation and test, from the saved artifact on this processor."""

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
        return dict(arrays)
