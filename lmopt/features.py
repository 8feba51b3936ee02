"""Hidden-state and attention losses: a student that also imitates what happens inside its teacher.

The frozen teacher reads each batch beside the student, or has read all texts before
(`lmopt.pretrain.save_states`): its forward pass costs more than a small student's whole step.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from lmopt.layers import layer_map
from lmopt.models import load_classifier, load_config, load_tokenizer
from lmopt.static import StaticConfig


def hidden_loss(
    student_hidden: torch.Tensor,
    teacher_hidden: torch.Tensor,
    mask: torch.Tensor,
    projection: nn.Module | None = None,
) -> torch.Tensor:
    """Mean squared error of hidden states, as a share of the teacher's mean square.

    `student_hidden` (batch, seq, d) goes through `projection` (d -> D) where the widths differ;
    `teacher_hidden` (batch, seq, D); `mask` (batch, seq) is 0 at padding. 0 for equal states, 1 for
    a student that answers 0: neither width nor scale of the teacher changes the loss's weight.

    Source: Jiao et al. (2020), TinyBERT, equation 8, divided by the teacher's mean square.
    """
    if projection is not None:
        student_hidden = projection(student_hidden)
    real = mask.bool()
    teacher = teacher_hidden[real].float()
    difference = student_hidden[real].float() - teacher
    return difference.square().sum() / teacher.square().sum()


def mean_state(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over real tokens, (batch, 1, D) of (batch, seq, D); `mask` is 0 at padding."""
    weights = mask.unsqueeze(-1).float()
    return (hidden.float() * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True)


def attention_loss(
    student_attention: torch.Tensor, teacher_attention: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """KL(teacher || student) of attention distributions in nats, mean over heads and real tokens.

    Both are (batch, heads, seq, seq) after the softmax; `mask` (batch, seq) is 0 at padding. Where
    the numbers of heads differ, the means over the heads are compared.

    Source: Sun et al. (2020), MobileBERT, equation 2 (library models give the distributions only,
    not the scores that TinyBERT compares).
    """
    student, teacher = student_attention.float(), teacher_attention.float()
    if student.shape[1] != teacher.shape[1]:
        student, teacher = (x.mean(1, keepdim=True) for x in (student, teacher))
    tiny = torch.finfo(torch.float32).tiny
    ratio = teacher.clamp_min(tiny).log() - student.clamp_min(tiny).log()
    divergence = (teacher * ratio).sum(-1)  # (batch, heads, seq)
    real = mask[:, None, :].to(divergence.dtype).expand_as(divergence)
    return (divergence * real).sum() / real.sum()


def token_map(student_tokenizer: Any, teacher_tokenizer: Any) -> torch.Tensor:
    """The teacher's id of each of the student's ids (vocabulary,): how it reads the same batch.

    The student may know fewer tokens (a trimmed vocabulary), never others: else ValueError.
    """
    teacher_ids = teacher_tokenizer.get_vocab()
    student_ids = student_tokenizer.get_vocab()
    unknown = [token for token in student_ids if token not in teacher_ids]
    if unknown:
        raise ValueError(
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
    """ValueError, in one line, where a student cannot have hidden-state and attention losses."""
    token_map(load_tokenizer(student), load_tokenizer(teacher))
    if attention_weight > 0 and dropout != 0:
        got = "the model's own" if dropout is None else dropout
        raise ValueError(
            "attention_weight needs dropout 0 (dropout draws zeros into the attention that is "
            f"compared), got {got}: set recipe.dropout"
        )


class FeatureLoss:
    """The weighted losses of one student against one frozen teacher (None: its states suffice).

    A student without layers learns the mean of a text's states. One of another width gets a linear
    projection, kept as a module of the student until `detach`, so that the optimizer and the
    checkpoints have it too.
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
        if attention_weight > 0:  # Fused attention does not give its distributions.
            for model in (student, teacher):
                if model is not None:
                    model.set_attn_implementation("eager")
        if teacher is not None:
            teacher.eval()
            teacher.requires_grad_(False)

    def to(self, device: torch.device) -> None:
        """Move the teacher."""
        if self.teacher is not None:
            self.teacher.to(device)
        self.token_ids = self.token_ids.to(device)

    def detach(self) -> None:
        """Take the projection off the student."""
        if hasattr(self.student, "feature_projection"):
            del self.student.feature_projection

    def __call__(
        self,
        student: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The loss (scalar) of the student's outputs for a batch; ids and mask (batch, seq).

        `states` (batch, seq, student's layers, D): the teacher's, where it has read the texts
        before; it has no attention to show then.
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
    """`layer_map` of two models' configurations; a student without layers answers the last one."""
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
    """The losses of a loaded student against a saved teacher, which `reads_along` or has read."""
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
