"""Train a classifier with transformers.Trainer, resumable and reproducible.

The trainer neither evaluates nor logs, and it saves a checkpoint each minute only. Batches hold
texts of similar length, padded to the longest one. Training uses bf16 if the device supports it.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from lmopt.data.batches import (
    Collator,
    ExampleDataset,
    Examples,
    LengthSampler,
    pad_id,
    padded,
    subset,
)
from lmopt.data.tokens import Tokens
from lmopt.errors import UserError
from lmopt.progress import Progress
from lmopt.training.device import autocast, has_bf16, pick_device
from lmopt.training.imitation import FeatureLoss
from lmopt.training.losses import LossFunction

log = logging.getLogger("lmopt")
# Frequent preemption needs a shorter interval, and a model that is slow to write a longer one.
CHECKPOINT_SECONDS = float(os.environ.get("LMOPT_CHECKPOINT_S", "60"))
COMPLETE = "complete"  # This marker is written into a checkpoint folder last.


class DivergedError(UserError):
    """The loss is not finite. The trial has failed and has no results."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The hyperparameters of a training.

    `train_examples` None means all examples. `dropout` None keeps the model's own value.
    """

    epochs: float
    learning_rate: float
    batch_size: int
    train_examples: int | None = None
    freeze_embeddings: bool = False
    dropout: float | None = None
    token_dropout: float = 0
    seed: int = 0
    device: str = "auto"


def train_classifier(
    model: PreTrainedModel,
    examples: Examples,
    loss_function: LossFunction,
    settings: TrainingSettings,
    *,
    scratch: Path,
    stage: str,
    progress: Progress | None = None,
    after_step: Callable[[], None] | None = None,
    features: FeatureLoss | None = None,
) -> None:
    """Train `model` in place and resume from the newest complete checkpoint in `scratch`.

    Args:
        model: The classifier.
        examples: The training examples.
        loss_function: The loss of the logits.
        settings: The hyperparameters.
        scratch: The folder of the checkpoints.
        stage: The name that progress and logs show.
        progress: A callback for the share of steps done.
        after_step: A callback that runs after every optimizer step, for example a pruning mask.
        features: Further losses, against a teacher's hidden states and attention.

    Raises:
        DivergedError: The loss is not finite.
    """
    target = pick_device(settings.device)
    if target.type == "cpu":  # The backward of torch's fused attention takes 5 times as long.
        model.set_attn_implementation("eager")
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            module.requires_grad_(not settings.freeze_embeddings)
        if isinstance(module, torch.nn.Dropout) and settings.dropout is not None:
            module.p = settings.dropout
    # Factorised embeddings have a linear layer too.
    model.get_input_embeddings().requires_grad_(not settings.freeze_embeddings)
    arguments = TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size,
        lr_scheduler_type="linear",
        warmup_steps=0.06,
        seed=settings.seed,
        bf16=has_bf16(target),
        use_cpu=target.type == "cpu",
        remove_unused_columns=False,
        dataloader_pin_memory=target.type == "cuda",
        save_strategy="no",
        save_total_limit=2,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    use_one_gpu(arguments)
    chosen = subset(len(examples.labels), settings.train_examples, settings.seed)
    trainer = ClassifierTrainer(
        model=model,
        args=arguments,
        train_dataset=ExampleDataset(examples, chosen, settings.token_dropout),
        data_collator=Collator(pad_id(model.config)),
        callbacks=[StepCallback(stage, progress, after_step)],
    )
    trainer.loss_function = loss_function
    trainer.features = features
    if features is not None:
        features.to(target)
    trainer.remove_callback(PrinterCallback)
    checkpoint = newest_checkpoint(scratch)
    if checkpoint is not None:
        log.info("%s goes on from %s", stage, checkpoint.name)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    model.to("cpu")
    model.eval()


def use_one_gpu(arguments: TrainingArguments) -> None:
    """Keep the Trainer on the first GPU that this process sees.

    With several it would copy the model to each, and multiply the batch size by their number.
    """
    arguments._n_gpu = min(arguments.n_gpu, 1)


def newest_checkpoint(scratch: Path) -> Path | None:
    """Return the newest checkpoint that is complete; None if there is none."""
    complete = scratch.glob(f"checkpoint-*/{COMPLETE}")
    steps = {int(marker.parent.name.split("-")[1]): marker.parent for marker in complete}
    return steps[max(steps)] if steps else None


class ClassifierTrainer(Trainer):  # type: ignore[misc]
    """A Trainer with lmopt's loss and its resumable order of examples."""

    loss_function: LossFunction
    features: FeatureLoss | None = None

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        labels = inputs.pop("labels")
        teacher_logits, states = inputs.pop("teacher_logits", None), inputs.pop("states", None)
        wanted = self.features.outputs if self.features is not None else {}
        outputs = model(**inputs, **wanted)
        loss = self.loss_function(outputs.logits.float(), labels, teacher_logits)
        if self.features is not None:
            with autocast(labels.device):
                loss = loss + self.features(outputs, **inputs, states=states)
        if not torch.isfinite(loss):
            step = self.state.global_step
            raise DivergedError(f"loss is {loss.item()} at step {step}: lower learning_rate")
        return (loss, outputs) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthSampler:
        dataset = self.train_dataset
        return LengthSampler(dataset.lengths, self.args.train_batch_size, self.args.seed)


class StepCallback(TrainerCallback):  # type: ignore[misc]
    """A callback that runs `after_step`, reports progress each second and saves each minute."""

    def __init__(
        self, stage: str, progress: Progress | None, after_step: Callable[[], None] | None
    ) -> None:
        self.stage, self.progress, self.after_step = stage, progress, after_step
        self.saved = self.reported = time.monotonic()

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> TrainerControl:
        if self.after_step is not None:
            self.after_step()
        now = time.monotonic()
        if self.progress is not None and now - self.reported >= 1:
            self.reported = now
            self.progress(self.stage, state.global_step / state.max_steps)
        if now - self.saved >= CHECKPOINT_SECONDS:
            self.saved = now
            control.should_save = True
        return control

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        Path(args.output_dir, f"checkpoint-{state.global_step}", COMPLETE).touch()


@torch.inference_mode()
def predict_logits(
    model: PreTrainedModel,
    tokens: Tokens,
    *,
    device: str = "auto",
    batch_size: int = 64,
    stage: str = "teacher_logits",
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """Return the logits (n, classes) of all texts, computed in batches of similar length."""
    target = pick_device(device)
    model = model.to(target).eval()
    order = np.argsort(tokens.lengths, kind="stable")
    logits: npt.NDArray[np.float32] = np.zeros((len(tokens), model.config.num_labels), np.float32)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = padded([tokens[i] for i in chosen], model)
        with autocast(target):
            logits[chosen] = model(**batch).logits.float().cpu().numpy()
        if progress is not None:
            progress(stage, (start + len(chosen)) / len(order))
    return logits
