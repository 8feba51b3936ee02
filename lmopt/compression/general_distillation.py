"""General distillation: before the task, a student learns its teacher's hidden states on any text.

Source: Jiao et al. (2020), TinyBERT, section 3.2.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lmopt.data.batches import Examples, pad_id
from lmopt.data.tokens import Tokens, pad
from lmopt.models.loading import load_classifier, load_config, load_tokenizer, save_model
from lmopt.progress import Progress
from lmopt.training.device import autocast, pick_device
from lmopt.training.imitation import answering_layers, feature_loss, token_map
from lmopt.training.trainer import TrainingSettings, train_classifier

VERSION = 2
STATES_VERSION = 1
# States of more bytes are not stored: the teacher reads each batch instead.
MAX_STATES_BYTES = 8_000_000_000


def pretrain(
    student: Path,
    examples: Examples,
    settings: TrainingSettings,
    *,
    teacher: Path,
    folder: Path,
    scratch: Path,
    progress: Progress | None = None,
) -> None:
    """Train the saved classifier `student` on the hidden states of `teacher`; save it to `folder`.

    The teacher reads each batch too, unless `examples` hold its states. The student's head keeps
    its values.

    Raises:
        UserError: The student has tokens that its teacher's vocabulary lacks.
        DivergedError: The loss is not finite.
    """
    model = load_classifier(student)
    features = feature_loss(
        model,
        student,
        teacher,
        hidden_weight=1,
        attention_weight=0,
        seed=settings.seed,
        reads_along=examples.states is None,
    )
    train_classifier(
        model,
        examples,
        _no_loss,
        settings,
        scratch=scratch,
        stage="pretrain",
        progress=progress,
        features=features,
    )
    features.detach()
    save_model(model, load_tokenizer(student), folder)


def _no_loss(logits: torch.Tensor, labels: torch.Tensor, _: torch.Tensor | None) -> torch.Tensor:
    """Return a loss of 0 for the logits."""
    return 0 * logits.sum()


def states_to_learn(student: Path, teacher: Path, tokens: int) -> list[int] | None:
    """Return the teacher's layers that a student learns; None if their states are too large.

    They are too large if those of `tokens` tokens take more than `MAX_STATES_BYTES`.
    """
    teacher_config = load_config(teacher)
    layers = answering_layers(load_config(student), teacher_config)
    size = 2 * tokens * len(layers) * int(teacher_config.hidden_size)
    return layers if size <= MAX_STATES_BYTES else None


@torch.inference_mode()
def save_states(
    student: Path,
    teacher: Path,
    tokens: Tokens,
    layers: Sequence[int],
    path: Path,
    *,
    device: str = "auto",
    batch_size: int = 64,
    progress: Progress | None = None,
) -> None:
    """Write the hidden states of `teacher` for a student's tokens to `path`.

    `lmopt.data.batches.States` reads the file. Its array has the shape (tokens of all texts,
    layers, D) and holds the outputs of these layers as bits of bf16.
    """
    target = pick_device(device)
    ids = token_map(load_tokenizer(student), load_tokenizer(teacher)).to(target)
    padding = pad_id(load_config(student))  # `ids` maps the student's ids only.
    model = load_classifier(teacher).to(target).eval()
    shape = (int(tokens.offsets[-1]), len(layers), model.config.hidden_size)
    rows = np.lib.format.open_memmap(path, "w+", np.int16, shape)
    order = np.argsort(tokens.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        arrays = pad([tokens[i] for i in chosen], padding)
        input_ids, mask = (torch.from_numpy(array).to(target) for array in arrays)
        with autocast(target):
            outputs = model(ids[input_ids], mask, output_hidden_states=True)
        states = torch.stack([outputs.hidden_states[layer + 1] for layer in layers], dim=2)
        bits = states.to(torch.bfloat16).cpu().view(torch.int16).numpy()
        for text, found in zip(chosen, bits, strict=True):
            first, last = tokens.offsets[text], tokens.offsets[text + 1]
            rows[first:last] = found[: last - first]
        if progress is not None:
            progress("hidden_states", (start + len(chosen)) / len(order))
    rows.flush()
