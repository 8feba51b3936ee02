"""Loss functions: soft and hard loss, hidden states, attention."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax

LossFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""(logits (batch, classes), labels (batch,), teacher logits (batch, classes) or None) -> scalar"""


HardLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(outputs, truth) -> scalar; `lmopt.tasks.base.Task.loss`"""
SoftLoss = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]
"""(outputs, teacher's outputs, temperature) -> scalar; `lmopt.tasks.base.Task.soft_loss`"""


def kd_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    temperature: float,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Soft loss: T^2 x KL(teacher || student) of the distributions softened by `temperature`.

    Both logits are (batch, classes); returns the batch mean in nats. The factor T^2 keeps the
    gradient's size independent of T. With a boolean `mask` (batch, positions) the logits are
    (batch, positions, classes) and the mean is over the positions where it is true.

    Source: Hinton, Vinyals, Dean (2015), Distilling the Knowledge in a Neural Network, section 2.
    """
    if mask is not None:
        student_logits, teacher_logits = student_logits[mask], teacher_logits[mask]
    student = log_softmax(student_logits / temperature, dim=-1)
    teacher = log_softmax(teacher_logits / temperature, dim=-1)
    return temperature**2 * kl_div(student, teacher, reduction="batchmean", log_target=True)


def label_loss(
    logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-entropy of logits (batch, classes) against labels (batch,), the batch mean in nats.

    A text whose label is -1 has no cross-entropy. It counts in the mean all the same, so that the
    weight of a labelled text does not depend on its neighbours. With a boolean `mask` (batch,
    positions) both have positions, and the mean is over those where it is true.
    """
    if mask is not None:
        logits, labels = logits[mask], labels[mask]
    return cross_entropy(logits, labels, ignore_index=-1, reduction="sum") / len(labels)


def distillation_loss(
    temperature: float, alpha: float, *, hard: HardLoss = label_loss, soft: SoftLoss = kd_loss
) -> LossFunction:
    """alpha x `soft` loss + (1 - alpha) x `hard` loss; `alpha` 0 needs no teacher logits."""

    def loss(
        logits: torch.Tensor, labels: torch.Tensor, teacher_logits: torch.Tensor | None
    ) -> torch.Tensor:
        total = (1 - alpha) * hard(logits, labels)
        if alpha > 0:
            if teacher_logits is None:
                raise ValueError(f"alpha is {alpha}: the soft loss needs the teacher's logits")
            total = total + alpha * soft(logits, teacher_logits, temperature)
        return total

    return loss


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
