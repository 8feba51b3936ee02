"""The walk of a trial: student, pretrain, distill, prune, artifact, evaluate, latency.

Every step but the last is a stage (`lmopt.stages`); a stage that exists is loaded. Size and latency
need a shape and bits only: `run_recipe(prepared, recipe.untrained(), ...)` has them untrained.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmopt.config.recipe import Recipe
from lmopt.environment import configure_libraries, library_versions
from lmopt.measurement.measure import Latency
from lmopt.methods.base import Texts
from lmopt.methods.distillation import distill_stage
from lmopt.methods.factorization import factorize_stage
from lmopt.methods.general_distillation import pretrain_stage
from lmopt.methods.mixed_precision import storage_of
from lmopt.methods.quantization import finetune_stage
from lmopt.methods.sparsity import prune_stage
from lmopt.methods.structured_pruning import structure_stage
from lmopt.methods.student import student_stage
from lmopt.methods.vocabulary import vocabulary_stage
from lmopt.pipeline.prepare import Prepared, extra_texts
from lmopt.pipeline.shared_stages import artifact_stage, evaluate_stage, logits_stage, tokens_stage
from lmopt.pipeline.timing import time_artifact
from lmopt.progress import Progress
from lmopt.runtimes.manifest import folder_bytes, read_manifest
from lmopt.runtimes.registry import PACKAGES, processor_of, refusal
from lmopt.stages.cache import Stage
from lmopt.stages.context import StageTime, Walk


@dataclass(frozen=True)
class Outcome:
    """One trial, measured on its saved artifact.

    `logits` (n, classes) are of the splits "validation" and "test"; `sparsity` is the share of
    zeros among all parameters before quantization, `macs` the multiply-accumulates for the longest
    text; `latency` holds raw samples in milliseconds of "baseline", "baseline16" and "trial";
    `noisy`: the baseline's own timings scattered; `pad_to_multiple_of`: to
    multiples of how many tokens timed texts were padded, 0: models took any length.
    """

    artifact: Path
    artifact_hash: str
    size_bytes: int
    folder_bytes: int
    parameters: int
    sparsity: float
    macs: int
    transfer_bytes: int
    logits: dict[str, npt.NDArray[np.float32]]
    latency: Latency
    noisy: bool
    stages: tuple[StageTime, ...]
    processor: str
    runtime: str
    threads: int
    pad_to_multiple_of: int
    versions: dict[str, str]


def run_recipe(
    prepared: Prepared,
    recipe: Recipe,
    *,
    cache: Path,
    threads: int,
    progress: Progress | None = None,
) -> Outcome:
    """Run one trial: apply the recipe to the teacher and measure the artifact that comes out.

    Raises DivergedError if a loss is not finite, ValueError if the recipe does not fit the model or
    the runtime.
    """
    configure_libraries(threads)
    if reason := refusal(prepared.runtime.name, recipe):
        raise ValueError(reason)
    walk = Walk(cache, threads, progress, recipe.device)
    recipe = recipe.canonical()
    model, tokens, storage = make_model(walk, prepared, recipe)
    runtime, limit = prepared.runtime, prepared.task.max_length
    artifact = artifact_stage(walk, runtime, model, recipe, storage, tokens, limit).path
    logits = evaluate_stage(walk, runtime, artifact, tokens)
    start = time.perf_counter()
    latency, noisy = time_artifact(prepared, artifact, cache=cache, progress=progress)
    walk.times.append(StageTime("latency", time.perf_counter() - start, cached=False))
    manifest = read_manifest(artifact)
    return Outcome(
        artifact=artifact,
        artifact_hash=manifest.hash,
        size_bytes=manifest.size_bytes,
        folder_bytes=folder_bytes(artifact),
        parameters=manifest.parameters,
        sparsity=manifest.sparsity,
        macs=manifest.macs,
        transfer_bytes=manifest.transfer_bytes,
        logits=logits,
        latency=latency,
        noisy=noisy,
        stages=tuple(walk.times),
        processor=processor_of(prepared.runtime.name, prepared.runtime.device),
        runtime=manifest.runtime,
        threads=prepared.runtime.threads,
        pad_to_multiple_of=prepared.runtime.pad_to_multiple_of,
        versions=library_versions(PACKAGES),
    )


def make_model(
    walk: Walk, prepared: Prepared, recipe: Recipe
) -> tuple[Stage, Stage, dict[str, Any]]:
    """The compressed model before its weights are stored, its tokens, and how they are stored."""
    data, limit = prepared.data, prepared.task.max_length
    model = prepared.teacher_stage
    texts = Texts(data, prepared.tokens, prepared.teacher_logits)
    if recipe.pretrain_epochs > 0 or recipe.unlabelled_examples > 0:
        labelled = recipe.unlabelled_examples > 0
        texts = texts._replace(extra=extra_texts(walk, prepared, labelled=labelled))
    checkpoint = prepared.student.model if recipe.base == "student" else None
    if checkpoint is not None:
        texts = read_by(walk, texts, checkpoint, limit)
        model = student_stage(walk, data, recipe, checkpoint, texts.tokens)
    if recipe.vocabulary_min_count is not None:
        model = vocabulary_stage(walk, recipe, model, texts.tokens, limit)
        texts = read_by(walk, texts, model.path, limit)
    whole = model
    if checkpoint is None and (recipe.layers is not None or recipe.hidden_size is not None):
        model = student_stage(walk, data, recipe, model, texts.tokens)
    if recipe.embedding_rank is not None:
        model = factorize_stage(walk, recipe, model, texts.tokens)
    if recipe.pretrain_epochs > 0:
        model = pretrain_stage(walk, recipe, model, texts, prepared.teacher_stage)
    wanted = {
        "distill": recipe.epochs > 0,
        "structure": recipe.ffn_keep < 1 or recipe.heads_keep < 1,
        "sparsify": recipe.sparsity > 0,
    }
    passes = {"distill": distill_stage, "structure": structure_stage, "sparsify": prune_stage}
    for name in recipe.order.split(","):
        if wanted[name]:
            lesson = texts
            if name == "distill" and recipe.assistant_layers is not None:
                lesson = taught_by_assistant(walk, prepared, recipe, whole, texts)
            model = passes[name](walk, recipe, model, lesson, prepared.teacher_stage)
    storage = storage_of(walk, recipe, model, texts.tokens)
    if recipe.finetune_epochs > 0 or recipe.clusters is not None:
        model = finetune_stage(walk, recipe, storage, model, texts)
    return model, texts.tokens, storage


def read_by(walk: Walk, texts: Texts, model: str | Path, limit: int) -> Texts:
    """The same texts as another model's tokenizer sees them."""
    extra = None if texts.extra is None else read_by(walk, texts.extra, model, limit)
    return texts._replace(tokens=tokens_stage(walk, texts.data, model, limit), extra=extra)


def taught_by_assistant(
    walk: Walk, prepared: Prepared, recipe: Recipe, base: Stage, texts: Texts
) -> Texts:
    """The texts with the logits of a student of `assistant_layers` layers, distilled likewise.

    Source: Mirzadeh et al. (2020), Improved Knowledge Distillation via Teacher Assistant.
    """
    changes = {"layers": recipe.assistant_layers, "hidden_size": None}
    between = recipe.model_copy(update=changes)
    assistant = student_stage(walk, texts.data, between, base, texts.tokens)
    assistant = distill_stage(walk, between, assistant, texts, prepared.teacher_stage)
    plain, limit = Recipe(bits=16), prepared.task.max_length
    runtime, storage = prepared.runtime, plain.storage()
    made = artifact_stage(walk, runtime, assistant, plain, storage, texts.tokens, limit)

    def taught(part: Texts) -> Texts:
        logits = logits_stage(walk, runtime, assistant, made.path, part.tokens, part.split)
        return part._replace(logits=logits)

    extra = texts.extra if recipe.unlabelled_examples > 0 else None
    return taught(texts)._replace(extra=taught(extra) if extra else None)
