"""Losses between a student's and its teacher's hidden states and attention.

The frozen teacher reads each batch together with the student, or it has read all texts before
(`lmopt.compression.general_distillation.save_states`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from lmopt.errors import UserError
from lmopt.models.loading import load_classifier, load_config, load_tokenizer
from lmopt.models.static import StaticConfig
from lmopt.training.losses import attention_loss, hidden_loss, mean_state


def token_map(student_tokenizer: Any, teacher_tokenizer: Any) -> torch.Tensor:
    """Return the teacher's id of each of the student's ids (vocabulary,).

    The student may have fewer tokens than the teacher (a trimmed vocabulary).

    Raises:
        UserError: The student has a token that the teacher lacks.
    """
    teacher_ids = teacher_tokenizer.get_vocab()
    student_ids = student_tokenizer.get_vocab()
    unknown = [token for token in student_ids if token not in teacher_ids]
    if unknown:
        raise UserError(
            "hidden_weight, attention_weight and pretrain_epochs need a student that reads the "
            "teacher's tokens: "
            f"{len(unknown)} of its {len(student_ids)} (such as {unknown[0]!r}) are not in the "
            "teacher's vocabulary; set all three to 0"
        )
    ids = torch.zeros(max(student_ids.values()) + 1, dtype=torch.int64)
    for token, i in student_ids.items():
        ids[i] = teacher_ids[token]
    return ids


def check_features(
    student: str | Path, teacher: str | Path, attention_weight: float, dropout: float | None
) -> None:
    """Refuse a student that cannot have hidden-state and attention losses.

    Raises:
        UserError: The tokens differ, or an attention loss meets dropout.
    """
    token_map(load_tokenizer(student), load_tokenizer(teacher))
    if attention_weight > 0 and dropout != 0:
        got = "the model's own" if dropout is None else dropout
        raise UserError(
            "attention_weight needs dropout 0 (dropout draws zeros into the attention that is "
            f"compared), got {got}: set recipe.dropout"
        )


class FeatureLoss:
    """The weighted losses of one student against one frozen teacher.

    The teacher is None if its stored states are used. A student without layers learns the mean of a
    text's states. A student of another width gets a linear projection. It is a module of the
    student until `detach`, so that the optimizer and the checkpoints hold it too.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel | None,
        teacher_config: PretrainedConfig,
        token_ids: torch.Tensor,
        *,
        hidden_weight: float,
        attention_weight: float,
        seed: int,
    ) -> None:
        self.student, self.teacher, self.token_ids = student, teacher, token_ids
        self.hidden_weight, self.attention_weight = hidden_weight, attention_weight
        config = student.config
        self.layers = answering_layers(config, teacher_config)
        self.outputs = {
            "output_hidden_states": hidden_weight > 0,
            "output_attentions": attention_weight > 0,
        }
        self.is_static = config.model_type == StaticConfig.model_type
        width = config.hidden if self.is_static else config.hidden_size
        widths = width, teacher_config.hidden_size
        if hidden_weight > 0 and widths[0] != widths[1]:
            projection = nn.Linear(*widths, bias=False)
            generator = torch.Generator().manual_seed(seed)
            nn.init.orthogonal_(projection.weight, generator=generator)
            student.feature_projection = projection
        if attention_weight > 0:  # Fused attention does not return distributions.
            for model in (student, teacher):
                if model is not None:
                    model.set_attn_implementation("eager")
        if teacher is not None:
            teacher.eval()
            teacher.requires_grad_(False)

    def to(self, device: torch.device) -> None:
        """Move the teacher and the token map to `device`."""
        if self.teacher is not None:
            self.teacher.to(device)
        self.token_ids = self.token_ids.to(device)

    def detach(self) -> None:
        """Remove the projection from the student."""
        if hasattr(self.student, "feature_projection"):
            del self.student.feature_projection

    def __call__(
        self,
        student: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the loss (scalar) of the student's outputs for a batch.

        Args:
            student: The student's outputs.
            input_ids: The student's ids (batch, seq).
            attention_mask: 0 at padding (batch, seq).
            states: The teacher's stored states (batch, seq, student's layers, D). With them there
                is no attention loss.
        """
        hidden: Sequence[torch.Tensor] = () if states is None else states.unbind(2)
        attentions: Sequence[torch.Tensor] = ()
        if states is None:
            assert self.teacher is not None
            with torch.no_grad():
                ids = self.token_ids[input_ids]
                teacher = self.teacher(ids, attention_mask, **self.outputs)
            if self.hidden_weight > 0:
                hidden = [teacher.hidden_states[layer + 1] for layer in self.layers]
            if self.attention_weight > 0:
                attentions = [teacher.attentions[layer] for layer in self.layers]
        if self.is_static:
            hidden = [mean_state(answer, attention_mask) for answer in hidden]
            attention_mask = attention_mask.new_ones(len(attention_mask), 1)
        total = torch.zeros((), device=attention_mask.device)
        projection = getattr(self.student, "feature_projection", None)
        for i, answer in enumerate(hidden):
            loss = hidden_loss(student.hidden_states[i + 1], answer, attention_mask, projection)
            total = total + self.hidden_weight * loss
        for i, answer in enumerate(attentions):
            loss = attention_loss(student.attentions[i], answer, attention_mask)
            total = total + self.attention_weight * loss
        return total / len(self.layers)


def answering_layers(student: PretrainedConfig, teacher: PretrainedConfig) -> list[int]:
    """Return `layer_map` of two models' configurations.

    A student without layers learns the teacher's last layer.
    """
    if student.model_type == StaticConfig.model_type:
        return [int(teacher.num_hidden_layers) - 1]
    return layer_map(
        student.num_hidden_layers,
        teacher.num_hidden_layers,
        getattr(student, "kept_layers", None),
        getattr(student, "kept_of", None),
    )


def feature_loss(
    student: PreTrainedModel,
    student_folder: Path,
    teacher_folder: Path,
    *,
    hidden_weight: float,
    attention_weight: float,
    seed: int,
    reads_along: bool = True,
) -> FeatureLoss:
    """Return the losses of a loaded student against a saved teacher.

    If `reads_along` is false, the teacher is not loaded and its stored states are used.
    """
    ids = token_map(load_tokenizer(student_folder), load_tokenizer(teacher_folder))
    return FeatureLoss(
        student,
        load_classifier(teacher_folder) if reads_along else None,
        load_config(teacher_folder),
        ids,
        hidden_weight=hidden_weight,
        attention_weight=attention_weight,
        seed=seed,
    )


def layer_map(
    student_layers: int,
    teacher_layers: int,
    kept: Sequence[int] | None = None,
    kept_of: int | None = None,
) -> list[int]:
    """Return for each student layer the index of the teacher layer whose output it learns.

    A student that kept the layers `kept` of a model of `kept_of` layers learns the layers that it
    came from. If the teacher has another number of layers, it learns those at the same relative
    depth. Any other student learns evenly spaced layers. The last layer always learns the last one,
    whose output the head reads.

    Source: Jiao et al. (2020), TinyBERT, section 3.1 (the uniform mapping g(m)).
    """
    origin = range(student_layers) if kept is None else kept
    count = kept_of or student_layers
    depths = [max(0, (i + 1) * teacher_layers // count - 1) for i in origin]
    return [*depths[:-1], teacher_layers - 1]
