"""The stages of the pipeline: which work each one does, and what its key depends on.

Each function takes the stages before it and returns its own, loaded or built (`lmopt.cache`).
"""

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lmopt import data as datas
from lmopt import distill, measure, prune, quantize, student, teacher, unlabelled
from lmopt.artifact import read_manifest
from lmopt.cache import Build, Stage, content_hash, run_stage
from lmopt.config import Bits, Recipe, TaskConfig, TeacherConfig
from lmopt.data import Data
from lmopt.environment import processor_name
from lmopt.examples import Examples
from lmopt.measure import Progress
from lmopt.sources import fingerprint, resolve
from lmopt.training import TrainingSettings, pick_device, predict_logits

LOGITS_VERSION = 1
EXTRA_TEXT = {"unlabelled", "rechunk"}  # A stage of their own: no teacher is trained anew for them.


class StageTime(NamedTuple):
    """What a stage cost this process; `cached`: it had been built before."""

    name: str
    seconds: float
    cached: bool


@dataclass(frozen=True)
class Walk:
    """Where stages are kept and how they are run; `times` collects what each one cost."""

    cache: Path
    threads: int
    progress: Progress | None = None
    device: str = "auto"
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
    parameters = task.model_dump(exclude={"dataset", "max_length", *EXTRA_TEXT})
    parameters["content"] = fingerprint(resolve(task.dataset))
    stage = walk.stage(
        "data",
        lambda folder, _: datas.build_data(task, folder),
        datas.VERSION,
        parameters,
        [],
    )
    return datas.load_data(stage.path)


def unlabelled_stage(walk: Walk, task: TaskConfig, data: Data) -> Data | None:
    """Text for the teacher to label, as the one split "unlabelled"; None if none is asked for."""
    if task.unlabelled is None and task.rechunk == 0:
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


def logits_stage(
    walk: Walk, teacher: Stage, artifact: Path, tokens: Stage, split: str = "train"
) -> Stage:
    """The teacher's logits of the training (or "unlabelled") split, once for all trials.

    Without a GPU they come from the 16-bit `artifact`: its runtime takes half of torch's time.
    """

    def build(folder: Path, _: Path) -> None:
        path = tokens.path / "tokens.npz"
        if pick_device(walk.device).type == "cpu":
            logits = measure.evaluate(
                artifact,
                path,
                [split],
                threads=walk.threads,
                stage="teacher_logits",
                progress=walk.progress,
            )[split]
        else:
            model = student.load_classifier(teacher.path)
            texts = datas.load_tokens(path)[split]
            logits = predict_logits(model, texts, device=walk.device, progress=walk.progress)
        np.save(folder / "logits.npy", logits)

    return walk.stage("teacher_logits", build, LOGITS_VERSION, {}, [teacher.key, tokens.key])


def student_stage(walk: Walk, data: Data, recipe: Recipe, base: Stage | str) -> Stage:
    """The untrained student: a saved classifier, or a checkpoint that gets a new head."""
    checkpoint = isinstance(base, str)
    names = data.label_names if checkpoint else None
    path = resolve(base) if isinstance(base, str) else str(base.path)
    parameters: dict[str, Any] = {"layers": recipe.layers}
    if checkpoint:
        parameters |= {"content": fingerprint(path), "labels": names, "seed": recipe.seed}
    return walk.stage(
        "student",
        lambda folder, _: student.build_student(path, names, recipe.layers, recipe.seed, folder),
        student.VERSION,
        parameters,
        [] if isinstance(base, str) else [base.key],
    )


def distill_stage(
    walk: Walk, data: Data, recipe: Recipe, model: Stage, tokens: Stage, logits: Stage
) -> Stage:
    """The student trained on the teacher's logits (`alpha` 0: on the labels alone)."""
    soft = logits if recipe.alpha > 0 else None
    settings = training_settings(recipe, recipe.epochs)

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


def prune_stage(
    walk: Walk, data: Data, recipe: Recipe, model: Stage, tokens: Stage, logits: Stage
) -> Stage:
    """The model with the recipe's share of zeros, recovered with the same loss."""
    soft = logits if recipe.alpha > 0 else None
    settings = training_settings(recipe, recipe.recovery_epochs)

    def build(folder: Path, scratch: Path) -> None:
        prune.prune(
            model.path,
            training_examples(data, tokens, soft),
            settings,
            sparsity=recipe.sparsity,
            temperature=recipe.temperature,
            alpha=recipe.alpha,
            folder=folder,
            scratch=scratch,
            progress=walk.progress,
        )

    parameters: dict[str, Any] = {"sparsity": recipe.sparsity}
    parents = [model.key]
    if recipe.recovery_epochs > 0:
        parameters |= training_parameters(recipe, settings)
        parents += [tokens.key, soft.key if soft else ""]
    return walk.stage("prune", build, prune.VERSION, parameters, parents)


def artifact_stage(walk: Walk, model: Stage, bits: Bits, max_length: int) -> Stage:
    """The artifact of a saved classifier at `bits`."""
    parameters = {"runtime": "openvino", "bits": bits, "max_length": max_length}
    parameters |= {name: version(name) for name in ("openvino", "nncf")}
    return walk.stage(
        "artifact",
        lambda folder, _: quantize.build_artifact(model.path, bits, max_length, folder),
        quantize.VERSION,
        parameters,
        [model.key],
    )


def evaluate_stage(walk: Walk, artifact: Path, tokens: Stage) -> dict[str, npt.NDArray[np.float32]]:
    """Logits (n, classes) of validation and test, from the saved artifact on this processor."""

    def build(folder: Path, _: Path) -> None:
        path = tokens.path / "tokens.npz"
        splits = ("validation", "test")
        arrays: dict[str, Any] = measure.evaluate(
            artifact, path, splits, threads=walk.threads, progress=walk.progress
        )
        np.savez(folder / "logits.npz", **arrays)

    manifest = read_manifest(artifact)
    parameters = {
        "artifact": manifest.hash,
        "precision": manifest.precision,
        "processor": processor_name(),
        "openvino": version("openvino"),
    }
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


def training_settings(recipe: Recipe, epochs: float) -> TrainingSettings:
    """A recipe's training, for so many epochs."""
    return TrainingSettings(
        epochs=epochs,
        learning_rate=recipe.learning_rate,
        batch_size=recipe.batch_size,
        train_examples=recipe.train_examples,
        freeze_embeddings=recipe.freeze_embeddings,
        dropout=recipe.dropout,
        seed=recipe.seed,
        device=recipe.device,
    )


def training_parameters(recipe: Recipe, settings: TrainingSettings) -> dict[str, Any]:
    """What the key of a training stage depends on; where it ran is not part of it."""
    parameters = vars(settings) | {"alpha": recipe.alpha}
    if recipe.alpha > 0:
        parameters["temperature"] = recipe.temperature
    del parameters["device"]
    return parameters
