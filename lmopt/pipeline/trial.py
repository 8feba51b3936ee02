"""The steps of a trial: student, pretrain, distill, prune, artifact, evaluate, latency.

Every step but the last is a stage (`lmopt.stages`), and an existing stage is loaded. Size and
latency depend on the shape and the bits only, so `run_recipe(prepared, recipe.untrained(), ...)`
measures them without training.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmopt.config.task import TaskConfig
from lmopt.environment import configure_libraries, library_versions
from lmopt.errors import UserError
from lmopt.measurement.measure import Latency
from lmopt.methods.base import Claim, Context, Texts
from lmopt.methods.mixed_precision import storage_of
from lmopt.methods.recipe import Recipe
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
    """The measurements of one trial on its saved artifact.

    `logits` (n, classes) are those of the splits "validation" and "test". `sparsity` is the share
    of zeros among all parameters before quantization. `macs` is the number of multiply-accumulates
    for the longest text. `latency` holds raw samples in milliseconds of "baseline", "baseline16"
    and "trial". `noisy` tells that the baseline's own timings scattered. Timed texts were padded to
    multiples of `pad_to_multiple_of` tokens. 0 means that they were not.
    """

    artifact: Path
    artifact_hash: str
    size_bytes: int
    folder_bytes: int
    parameters: int
    sparsity: float
    claim: Claim
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
    """Run one trial: apply the recipe to the teacher and measure the resulting artifact.

    Raises:
        UserError: The recipe does not fit the model or the runtime.
        DivergedError: A loss is not finite.
    """
    configure_libraries(threads)
    if reason := refusal(prepared.runtime.name, recipe):
        raise UserError(reason)
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
        claim=recipe.claim(manifest.sparsity),
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
    """Run the methods of a canonical recipe in their order.

    Returns:
        The compressed model before its weights are stored, its tokens, and the storage settings.
    """
    limit, model = prepared.task.max_length, prepared.teacher_stage
    texts = Texts(prepared.data, prepared.tokens, prepared.teacher_logits)
    if recipe.pretrain_epochs > 0 or recipe.unlabelled_examples > 0:
        labelled = recipe.unlabelled_examples > 0
        texts = texts._replace(extra=extra_texts(walk, prepared, labelled=labelled))
    checkpoint = prepared.student.model if recipe.base == "student" else None
    if checkpoint is not None:
        texts = read_by(walk, texts, checkpoint, prepared.task)
    context = Context(
        walk=walk,
        teacher=prepared.teacher_stage,
        checkpoint=checkpoint,
        max_length=limit,
        whole=model,
        label=lambda other, part: labelled_by(walk, prepared, other, part),
        storage=recipe.storage(),
    )
    stored = False
    for method in recipe.walk(checkpoint is not None):
        if method.phase == "store" and not stored:
            context = replace(context, storage=storage_of(context, recipe, model, texts.tokens))
            stored = True
        assert method.apply is not None
        own = context if method.code is None else context.salted(method.code)
        model = method.apply(own, recipe, model, texts)
        if method.phase == "vocabulary":
            texts = read_by(walk, texts, model.path, prepared.task)
        if method.phase == "vocabulary" or (checkpoint is not None and method.name == "student"):
            context = replace(context, whole=model)
    if not stored:
        context = replace(context, storage=storage_of(context, recipe, model, texts.tokens))
    return model, texts.tokens, dict(context.storage)


def read_by(walk: Walk, texts: Texts, model: str | Path, task: TaskConfig) -> Texts:
    """Return the same texts as another model's tokenizer reads them."""
    extra = None if texts.extra is None else read_by(walk, texts.extra, model, task)
    return texts._replace(tokens=tokens_stage(walk, texts.data, model, task), extra=extra)


def labelled_by(walk: Walk, prepared: Prepared, model: Stage, texts: Texts) -> Texts:
    """Return the texts with the logits of another saved model, from its 16-bit artifact."""
    plain, limit = Recipe(bits=16), prepared.task.max_length
    runtime, storage = prepared.runtime, plain.storage()
    made = artifact_stage(walk, runtime, model, plain, storage, texts.tokens, limit)
    logits = logits_stage(walk, runtime, model, made.path, texts.tokens, texts.split)
    return texts._replace(logits=logits)
