"""Structured pruning: remove the least important FFN neurons and attention heads.

Units are scored and masked several times while the model trains. The masked units are then cut out
of the matrices, and the smaller model trains on with the same loss.
"""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from transformers import PreTrainedModel

from lmopt.compression.unit_importance import Gates, magnitudes, score_units
from lmopt.data.batches import Examples, select, subset
from lmopt.models.families.base import Kind, Units, keep_units
from lmopt.models.families.registry import find_units
from lmopt.models.loading import load_classifier, load_tokenizer, save_model
from lmopt.models.shape import record_units
from lmopt.progress import Progress
from lmopt.training.losses import LossFunction, distillation_loss
from lmopt.training.schedule import cubic, on_schedule, optimizer_steps
from lmopt.training.trainer import TrainingSettings, train_classifier

VERSION = 1
UPDATES = 8  # The number of times that units are scored and masked.
GRADUAL_SHARE = 0.5  # The part of the examples that narrows the model. The rest recovers it.
MAX_BLOCK = 64
Criterion = Literal["taylor", "magnitude"]
Scope = Literal["global", "layer"]


def block_size(units: Sequence[Units]) -> int:
    """Return the number of units that are removed together: 1 head, or up to 64 FFN neurons.

    For the FFN it is the largest common divisor, up to 64, of all widths before and after it.
    Pruned widths stay multiples of it, which suits quantization groups and the processor's tiles.
    """
    if units[0].width > 1:
        return 1
    common = math.gcd(*(width for u in units for width in (u.count, u.output.out_features)))
    return max(n for n in range(1, MAX_BLOCK + 1) if common % n == 0)


def choose_units(
    scores: Sequence[torch.Tensor], keep: float, block: int, scope: Scope
) -> list[torch.Tensor]:
    """Return a mask (units,) for each layer: 1 for a kept unit, 0 for a removed one.

    The units with the highest scores are kept, in whole blocks of `block` units and at least one
    block in each layer. The scope "global" keeps the share `keep` of all units, "layer" of each
    layer.
    """
    orders = [score.argsort(descending=True, stable=True) for score in scores]
    blocks = [s[o].view(-1, block).sum(1) for s, o in zip(scores, orders, strict=True)]
    if scope == "layer":
        counts = [max(1, round(keep * len(sums))) for sums in blocks]
    else:
        for sums in blocks:
            sums[0] = torch.inf
        layer = torch.repeat_interleave(torch.tensor([len(sums) for sums in blocks]))
        best = torch.cat(blocks).argsort(descending=True, stable=True).cpu()
        best = best[: max(len(blocks), round(keep * len(best)))]
        counts = torch.bincount(layer[best], minlength=len(blocks)).tolist()
    masks = [torch.zeros_like(score) for score in scores]
    for mask, order, count in zip(masks, orders, counts, strict=True):
        mask[order[: count * block]] = 1
    return masks


def mask_units(gates: Gates, keep: float, criterion: Criterion, scope: Scope) -> None:
    """Score the gates' units, mask all but the share `keep`, and reset the collected scores."""
    scores = []
    for units in gates.units:
        score = units.output.get_buffer("unit_score")
        judged = score if criterion == "taylor" else magnitudes(units)
        masked = units.output.get_buffer("unit_mask") == 0
        scores.append(judged.masked_fill(masked, -1.0))  # A masked unit stays masked.
        score.zero_()
    masks = choose_units(scores, keep, block_size(gates.units), scope)
    for units, mask in zip(gates.units, masks, strict=True):
        units.output.get_buffer("unit_mask").copy_(mask)


def narrow(
    model: PreTrainedModel,
    examples: Examples,
    settings: TrainingSettings,
    loss_function: LossFunction,
    *,
    keeps: Mapping[Kind, float],
    criterion: Criterion,
    scope: Scope,
    scratch: Path,
    progress: Progress | None = None,
) -> None:
    """Remove all units but the shares `keeps`, in place, over `settings.epochs` of training.

    Without training, the units are removed at once.
    """
    gates = {kind: Gates(find_units(model, kind)) for kind in keeps}

    def update(done: float) -> None:
        for kind, keep in keeps.items():
            mask_units(gates[kind], 1 - (1 - keep) * cubic(done), criterion, scope)

    steps = optimizer_steps(len(examples.labels), settings)
    if steps > 0:
        after_step = _after_step(list(gates.values()), on_schedule(model, steps, UPDATES, update))
        train_classifier(
            model,
            examples,
            loss_function,
            settings,
            scratch=scratch,
            stage="structure",
            progress=progress,
            after_step=after_step,
        )
        assert int(model.schedule_step) == steps, "the schedule did not come to its end"
        del model.schedule_step
    else:
        if criterion == "taylor":
            score_units(model, list(gates.values()), examples, loss_function, settings)
        update(1.0)
    for kind, each in gates.items():
        for units, kept in zip(each.units, each.remove(), strict=True):
            keep_units(units, kept)
        record_units(model, kind)


def _after_step(gates: Sequence[Gates], count: Callable[[], None]) -> Callable[[], None]:
    """Return a callback that collects the scores of a step and then counts the step."""

    def after_step() -> None:
        for each in gates:
            each.collect()
        count()

    return after_step


def prune_structure(
    model_folder: Path,
    examples: Examples,
    settings: TrainingSettings,
    *,
    ffn_keep: float,
    heads_keep: float,
    criterion: Criterion,
    scope: Scope,
    temperature: float,
    alpha: float,
    folder: Path,
    scratch: Path,
    progress: Progress | None = None,
) -> None:
    """Remove neurons and heads of a saved classifier, recover it, and save it into `folder`.

    `ffn_keep` and `heads_keep`, in (0, 1], are the shares kept. Either the model that is being
    narrowed or the smaller model reads an example, `settings.epochs` times. After a kill the work
    resumes from the checkpoints of either part, or from the narrowed model between them.

    Raises:
        UserError: The family has no adapter.
    """
    keeps: dict[Kind, float] = {"ffn": ffn_keep, "heads": heads_keep}
    keeps = {kind: keep for kind, keep in keeps.items() if keep < 1}
    gradual, recovery = split_examples(examples, settings)
    loss_function = distillation_loss(temperature, alpha)
    narrowed = scratch / "narrowed"
    if not narrowed.exists():
        model = load_classifier(model_folder)
        narrow(
            model,
            gradual,
            replace(settings, train_examples=None),
            loss_function,
            keeps=keeps,
            criterion=criterion,
            scope=scope,
            scratch=scratch / "gradual",
            progress=_part(progress, 0.0, GRADUAL_SHARE),
        )
        unfinished = scratch / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        model.save_pretrained(unfinished)
        unfinished.rename(narrowed)
    model = load_classifier(narrowed)
    if settings.epochs > 0:
        train_classifier(
            model,
            recovery,
            loss_function,
            replace(settings, train_examples=None),
            scratch=scratch / "recovery",
            stage="structure",
            progress=_part(progress, GRADUAL_SHARE, 1.0),
        )
    save_model(model, load_tokenizer(model_folder), folder)


def split_examples(examples: Examples, settings: TrainingSettings) -> tuple[Examples, Examples]:
    """Return the examples that narrow the model, and the others, which recover it."""
    count = len(examples.labels)
    limit = min(count, settings.train_examples or count)
    chosen = subset(count, limit, settings.seed)
    first = subset(count, round(GRADUAL_SHARE * limit), settings.seed)
    return select(examples, first), select(examples, np.setdiff1d(chosen, first))


def _part(progress: Progress | None, start: float, end: float) -> Progress | None:
    """Return a callback that reports progress of a part as progress of the whole, from `start`."""
    if progress is None:
        return None
    return lambda stage, share: progress(
        stage, None if share is None else start + (end - start) * share
    )
