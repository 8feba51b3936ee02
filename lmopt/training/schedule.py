"""The schedule of gradual pruning, which a resumed training continues unchanged.

The counter and the masks are buffers of the model, so the Trainer's checkpoints hold them.
"""

import math
from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from lmopt.data.batches import subset
from lmopt.training.trainer import TrainingSettings


def cubic(progress: float) -> float:
    """Return the share of the final sparsity at `progress` in [0, 1].

    It rises fast at first, while many weights are redundant.

    Source: Zhu & Gupta (2017), To prune, or not to prune, equation 1, with initial sparsity 0.
    """
    return 1 - (1 - min(max(progress, 0.0), 1.0)) ** 3


def optimizer_steps(examples: int, settings: TrainingSettings) -> int:
    """Return the number of optimizer steps that `train_classifier` takes on `examples` examples."""
    chosen = len(subset(examples, settings.train_examples, settings.seed))
    return math.ceil(settings.epochs * math.ceil(chosen / settings.batch_size))


def on_schedule(
    model: PreTrainedModel, steps: int, updates: int, update: Callable[[float], None]
) -> Callable[[], None]:
    """Return a callback for `after_step` that calls `update(progress)` at `updates` of the steps.

    The last update has progress 1. The model's buffer `schedule_step` counts the steps. The caller
    must delete it before the model is saved.
    """
    due = {max(1, round(i * steps / updates)) for i in range(1, updates + 1)}
    model.register_buffer("schedule_step", torch.zeros((), dtype=torch.long))

    def after_step() -> None:
        model.schedule_step += 1
        if int(model.schedule_step) in due:
            update(int(model.schedule_step) / steps)

    return after_step
