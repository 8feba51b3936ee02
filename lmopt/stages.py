"""The stages of the pipeline: which work each one does, and what its key depends on.

Each function takes the stages before it and returns its own, loaded or built (`lmopt.cache`).
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lmopt import data as datas
from lmopt import (
    distill,
    finetune,
    measure,
    onnx_artifact,
    prune,
    quantize,
    sensitivity,
    structure,
    student,
    teacher,
    torch_artifact,
    vocabulary,
)
from lmopt.artifact import read_manifest
from lmopt.cache import Build, Stage, content_hash, run_stage
from lmopt.config import Recipe, RuntimeConfig, RuntimeName, TaskConfig, TeacherConfig
from lmopt.data import Data
from lmopt.measure import Progress
from lmopt.runtime import Runtime, processor_of, runtime_versions
from lmopt.sources import fingerprint, resolve
from lmopt.training import Examples, TrainingSettings, pick_device, predict_logits

LOGITS_VERSION = 1
CALIBRATION_TEXTS = 128
RUNTIMES: dict[RuntimeName, Runtime] = {
    "openvino": quantize,
    "onnxruntime": onnx_artifact,
    "torch": torch_artifact,
}


class StageTime(NamedTuple):
    """What a stage cost this process; `cached`: it had been built before."""

    name: str
    seconds: float
    cached: bool


@dataclass(frozen=True)
class Walk:
    """Where stages are kept and how they are run; `times` collects what each one cost.

    `device` is where models are trained, `runtime` makes and runs the artifacts.
    """

    cache: Path
    threads: int
    progress: Progress | None = None
    device: str = "auto"
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    times: list[StageTime] = field(default_factory=list)

    def stage(
        self,
        name: str,
        build: Build,
        stage_version: int,
        parameters: dict[str, Any],
        parents: list[str],
    ) -> Stage:
        """Load or build a stage and remember its time."""
        if self.progress is not None:
            self.progress(name, None)
        stage = run_stage(
            self.cache, name, build, version=stage_version, parameters=parameters, parents=parents
        )
        self.times.append(StageTime(name, stage.seconds, stage.cached))
        return stage


def data_stage(walk: Walk, task: TaskConfig) -> Data:
    """The task's texts, labels and documents per split."""
    parameters = task.model_dump(exclude={"dataset", "max_length"})
    parameters["content"] = fingerprint(resolve(task.dataset))
    stage = walk.stage(
        "data",
        lambda folder, _: datas.build_data(task, folder),
        datas.VERSION,
        parameters,
        [],
    )
    return datas.load_data(stage.path)


def tokens_stage(walk: Walk, data: Data, model: str | Path, max_length: int) -> Stage:
    """The texts of every split as `model`'s tokenizer sees them."""
    tokenizer = student.load_tokenizer(model)
    student.check_length(model, max_length)

    def build(folder: Path, _: Path) -> None:
        texts = {name: split.texts for name, split in data.splits.items()}
        tokens = {n: datas.tokenize(tokenizer, t, max_length) for n, t in texts.items()}
        datas.save_tokens(folder / "tokens.npz", tokens)

    parameters = {"tokenizer": tokenizer_hash(tokenizer), "max_length": max_length}
    return walk.stage("tokens", build, datas.TOKENS_VERSION, parameters, [data.key])


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
        examples = training_examples(data, tokens, None)
        teacher.build_teacher(
            config, data.label_names, examples, walk.device, folder, scratch, walk.progress
        )

    parameters = config.model_dump(exclude={"model"})
    parameters |= {"content": fingerprint(resolve(config.model)), "labels": data.label_names}
    return walk.stage("teacher", build, teacher.VERSION, parameters, [data.key, tokens.key])


def logits_stage(walk: Walk, teacher: Stage, artifact: Path, tokens: Stage) -> Stage:
    """The teacher's logits of the training split, once for all trials.

    Without a GPU they come from the 16-bit `artifact`: its runtime takes half of torch's time. They
    depend on the artifact wherever they come from, so that all jobs of a sweep find the same ones.
    """

    def build(folder: Path, _: Path) -> None:
        path = tokens.path / "tokens.npz"
        if pick_device(walk.device).type == "cpu":
            logits = measure.evaluate(
                artifact,
                path,
                ["train"],
                threads=walk.threads,
                device=walk.runtime.device,
                stage="teacher_logits",
                progress=walk.progress,
            )["train"]
        else:
            model = student.load_classifier(teacher.path)
            train = datas.load_tokens(path)["train"]
            logits = predict_logits(model, train, device=walk.device, progress=walk.progress)
        np.save(folder / "logits.npy", logits)

    parameters = {"artifact": read_manifest(artifact).hash} | runtime_versions(walk.runtime.name)
    parents = [teacher.key, tokens.key]
    return walk.stage("teacher_logits", build, LOGITS_VERSION, parameters, parents)


def vocabulary_stage(walk: Walk, recipe: Recipe, model: Stage, tokens: Stage, limit: int) -> Stage:
    """The model and its tokenizer with the tokens of the training texts alone."""

    def build(folder: Path, _: Path) -> None:
        assert recipe.vocabulary_min_count is not None
        train = datas.load_tokens(tokens.path / "tokens.npz")["train"]
        vocabulary.trim_vocabulary(model.path, train, recipe.vocabulary_min_count, folder, limit)

    parameters = {"min_count": recipe.vocabulary_min_count, "max_length": limit}
    parents = [model.key, tokens.key]
    return walk.stage("vocabulary", build, vocabulary.VERSION, parameters, parents)


def factorize_stage(walk: Walk, recipe: Recipe, model: Stage, tokens: Stage) -> Stage:
    """The model with its word embeddings as a product of two thin matrices."""

    def build(folder: Path, _: Path) -> None:
        assert recipe.embedding_rank is not None
        train = datas.load_tokens(tokens.path / "tokens.npz")["train"]
        vocabulary.factorize_vocabulary(model.path, train, recipe.embedding_rank, folder)

    parameters = {"rank": recipe.embedding_rank}
    parents = [model.key, tokens.key]
    return walk.stage("factorize", build, vocabulary.VERSION, parameters, parents)


def student_stage(
    walk: Walk, data: Data, recipe: Recipe, base: Stage | str, tokens: Stage
) -> Stage:
    """The untrained student: a saved classifier, or a checkpoint that gets a new head."""
    checkpoint = isinstance(base, str)
    names = data.label_names if checkpoint else None
    path = resolve(base) if isinstance(base, str) else str(base.path)
    parameters: dict[str, Any] = {"layers": recipe.layers}
    shape: dict[str, Any] = {}
    if recipe.layers == 0:
        shape = recipe.model_dump(include={"static_width", "static_hidden"})
    elif recipe.hidden_size is not None:
        shape = {"hidden_size": recipe.hidden_size}
    parameters |= shape
    if checkpoint:
        parameters |= {"content": fingerprint(path), "labels": names}
    if checkpoint or recipe.layers == 0:
        parameters["seed"] = recipe.seed
    narrower = recipe.hidden_size is not None

    def build(folder: Path, _: Path) -> None:
        batches = calibration_texts(tokens, Path(path)) if narrower else ()
        student.build_student(
            path, names, recipe.layers, recipe.seed, folder, batches=batches, **shape
        )

    parents = [] if isinstance(base, str) else [base.key]
    parents += [tokens.key] if narrower else []
    return walk.stage("student", build, student.VERSION, parameters, parents)


def distill_stage(
    walk: Walk, data: Data, recipe: Recipe, model: Stage, tokens: Stage, logits: Stage
) -> Stage:
    """The student trained on the teacher's logits (`alpha` 0: on the labels alone)."""
    soft = logits if recipe.alpha > 0 else None
    settings = training_settings(recipe, recipe.epochs, walk.device)

    def build(folder: Path, scratch: Path) -> None:
        distill.distill(
            model.path,
            training_examples(data, tokens, soft),
            settings,
            temperature=recipe.temperature,
            alpha=recipe.alpha,
            folder=folder,
            scratch=scratch,
            progress=walk.progress,
        )

    parameters = training_parameters(recipe, settings)
    parents = [model.key, tokens.key, soft.key if soft else ""]
    return walk.stage("distill", build, distill.VERSION, parameters, parents)


def structure_stage(
    walk: Walk, data: Data, recipe: Recipe, model: Stage, tokens: Stage, logits: Stage
) -> Stage:
    """The model with fewer neurons and heads, removed while it trains with the same loss."""
    soft = logits if recipe.alpha > 0 else None
    settings = training_settings(recipe, recipe.structure_epochs, walk.device)
    options: dict[str, Any] = {
        "ffn_keep": recipe.ffn_keep,
        "heads_keep": recipe.heads_keep,
        "criterion": recipe.structure_criterion,
        "scope": recipe.structure_scope,
    }

    def build(folder: Path, scratch: Path) -> None:
        structure.prune_structure(
            model.path,
            training_examples(data, tokens, soft),
            settings,
            temperature=recipe.temperature,
            alpha=recipe.alpha,
            folder=folder,
            scratch=scratch,
            progress=walk.progress,
            **options,
        )

    parameters = options | training_parameters(recipe, settings)
    parents = [model.key, tokens.key, soft.key if soft else ""]
    return walk.stage("structure", build, structure.VERSION, parameters, parents)


def prune_stage(
    walk: Walk, data: Data, recipe: Recipe, model: Stage, tokens: Stage, logits: Stage
) -> Stage:
    """The model with the recipe's share of zeros, recovered with the same loss."""
    soft = logits if recipe.alpha > 0 else None
    settings = training_settings(recipe, recipe.recovery_epochs, walk.device)
    options: dict[str, Any] = {
        "sparsity": recipe.sparsity,
        "criterion": recipe.sparsity_criterion,
        "schedule": recipe.sparsity_schedule,
    }

    def build(folder: Path, scratch: Path) -> None:
        prune.prune(
            model.path,
            training_examples(data, tokens, soft),
            settings,
            temperature=recipe.temperature,
            alpha=recipe.alpha,
            folder=folder,
            scratch=scratch,
            progress=walk.progress,
            **options,
        )

    parameters: dict[str, Any] = dict(options)
    parents = [model.key]
    if recipe.recovery_epochs > 0 or recipe.sparsity_criterion == "wanda":
        parameters |= training_parameters(recipe, settings)
        parents += [tokens.key, soft.key if soft else ""]
    return walk.stage("prune", build, prune.VERSION, parameters, parents)


def storage_of(walk: Walk, recipe: Recipe, model: Stage, tokens: Stage) -> dict[str, Any]:
    """What `plan_storage` takes: the recipe's storage, and the matrices that need more bits."""
    storage = recipe.storage()
    if recipe.mixed_share == 0:
        return storage

    def build(folder: Path, _: Path) -> None:
        batches = calibration_texts(tokens, model.path)
        sensitivity.find_sensitive(model.path, storage, recipe.mixed_share, batches, folder)

    parameters = {"storage": storage, "share": recipe.mixed_share}
    parents = [model.key, tokens.key]
    stage = walk.stage("sensitivity", build, sensitivity.VERSION, parameters, parents)
    return storage | {"sensitive": sensitivity.read_sensitive(stage.path)}


def finetune_stage(
    walk: Walk,
    data: Data,
    recipe: Recipe,
    storage: dict[str, Any],
    model: Stage,
    tokens: Stage,
    logits: Stage,
) -> Stage:
    """The model trained with its weights as they will be stored; clustered, if they are shared."""
    soft = logits if recipe.alpha > 0 else None
    settings = training_settings(recipe, recipe.finetune_epochs, walk.device)
    if recipe.finetune_learning_rate is not None:
        settings = replace(settings, learning_rate=recipe.finetune_learning_rate)

    def build(folder: Path, scratch: Path) -> None:
        finetune.finetune_stored(
            model.path,
            training_examples(data, tokens, soft),
            settings,
            storage=storage,
            temperature=recipe.temperature,
            alpha=recipe.alpha,
            folder=folder,
            scratch=scratch,
            progress=walk.progress,
        )

    parameters: dict[str, Any] = {"storage": storage}
    parents = [model.key]
    if recipe.finetune_epochs > 0:
        parameters |= training_parameters(recipe, settings)
        parents += [tokens.key, soft.key if soft else ""]
    return walk.stage("finetune", build, finetune.VERSION, parameters, parents)


def artifact_stage(
    walk: Walk,
    model: Stage,
    recipe: Recipe,
    storage: dict[str, Any],
    tokens: Stage,
    max_length: int,
) -> Stage:
    """The artifact of a saved classifier, its matrices stored as the recipe says."""
    name = walk.runtime.name
    maker, options = RUNTIMES[name], {"bits": recipe.bits}
    if name == "openvino":
        options = storage | recipe.model_dump(include={"activation_bits", "rounding"})
    looks_at_texts = recipe.activation_bits is not None or recipe.rounding != "nearest"

    def build(folder: Path, _: Path) -> None:
        extra: dict[str, Any] = {}
        if looks_at_texts:
            extra["calibration"] = calibration_texts(tokens, model.path)
        maker.build_artifact(model.path, max_length, folder, **options, **extra)

    parameters = {"runtime": name, "max_length": max_length} | options | runtime_versions(name)
    parents = [model.key, tokens.key] if looks_at_texts else [model.key]
    return walk.stage("artifact", build, maker.VERSION, parameters, parents)


def calibration_texts(tokens: Stage, model: Path) -> list[quantize.Batch]:
    """Training texts, one a batch, that show the ranges of a model's activations."""
    texts = datas.load_tokens(tokens.path / "tokens.npz")["train"]
    chosen = np.random.default_rng(0).choice(len(texts), min(CALIBRATION_TEXTS, len(texts)), False)
    pad_id = student.load_config(model).pad_token_id or 0
    return [datas.pad([texts[i]], pad_id) for i in chosen]


def evaluate_stage(walk: Walk, artifact: Path, tokens: Stage) -> dict[str, npt.NDArray[np.float32]]:
    """Logits (n, classes) of validation and test, from the saved artifact on this processor."""

    def build(folder: Path, _: Path) -> None:
        path = tokens.path / "tokens.npz"
        splits = ("validation", "test")
        arrays: dict[str, Any] = measure.evaluate(
            artifact,
            path,
            splits,
            threads=walk.threads,
            device=walk.runtime.device,
            progress=walk.progress,
        )
        np.savez(folder / "logits.npz", **arrays)

    manifest = read_manifest(artifact)
    parameters = {
        "artifact": manifest.hash,
        "precision": manifest.precision,
        "processor": processor_of(walk.runtime.name, walk.runtime.device),
    } | runtime_versions(walk.runtime.name)
    stage = walk.stage("evaluate", build, measure.VERSION, parameters, [tokens.key])
    with np.load(stage.path / "logits.npz") as arrays:
        return dict(arrays)


def training_examples(data: Data, tokens: Stage, logits: Stage | None) -> Examples:
    """The training split, with the teacher's logits where they are wanted."""
    return Examples(
        datas.load_tokens(tokens.path / "tokens.npz")["train"],
        data.splits["train"].labels,
        np.load(logits.path / "logits.npy") if logits else None,
    )


def training_settings(recipe: Recipe, epochs: float, device: str) -> TrainingSettings:
    """A recipe's training, for so many epochs."""
    return TrainingSettings(
        epochs=epochs,
        learning_rate=recipe.static_learning_rate if recipe.layers == 0 else recipe.learning_rate,
        batch_size=recipe.batch_size,
        train_examples=recipe.train_examples,
        freeze_embeddings=recipe.freeze_embeddings,
        dropout=recipe.dropout,
        seed=recipe.seed,
        device=device,
    )


def training_parameters(recipe: Recipe, settings: TrainingSettings) -> dict[str, Any]:
    """What the key of a training stage depends on; where it ran is not part of it."""
    parameters = vars(settings) | {"alpha": recipe.alpha}
    if recipe.alpha > 0:
        parameters["temperature"] = recipe.temperature
    del parameters["device"]
    return parameters
