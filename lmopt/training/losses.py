"""Loss functions: soft loss, hard loss, and losses of hidden states and attention."""

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
    """Return the soft loss: T^2 x KL(teacher || student) at temperature T, batch mean in nats.

    Both logits are (batch, classes). The factor T^2 keeps the gradient's size independent of T.
    With a boolean `mask` (batch, positions) the logits are (batch, positions, classes) and the mean
    is over the positions where the mask is true.

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
    """Return the cross-entropy of logits (batch, classes) and labels (batch,), mean in nats.

    A text whose label is -1 has no cross-entropy. It still counts in the mean, so that the weight
    of a labelled text does not depend on its batch. With a boolean `mask` (batch, positions) the
    logits and labels have positions, and the mean is over those where the mask is true.
    """
    if mask is not None:
        logits, labels = logits[mask], labels[mask]
    return cross_entropy(logits, labels, ignore_index=-1, reduction="sum") / len(labels)


def distillation_loss(
    temperature: float, alpha: float, *, hard: HardLoss = label_loss, soft: SoftLoss = kd_loss
) -> LossFunction:
    """Return the loss function alpha x `soft` + (1 - alpha) x `hard`.

    It needs no teacher logits if `alpha` is 0. Otherwise it raises ValueError without them.
    """

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
    """Return the mean squared error of hidden states divided by the teacher's mean square.

    The loss is 0 for equal states and 1 for a student whose states are 0. Neither the width nor the
    scale of the teacher changes the weight of the loss.

    Args:
        student_hidden: The student's states (batch, seq, d).
        teacher_hidden: The teacher's states (batch, seq, D).
        mask: 0 at padding (batch, seq).
        projection: A map from d to D, needed if the widths differ.

    Source: Jiao et al. (2020), TinyBERT, equation 8, divided by the teacher's mean square.
    """
    if projection is not None:
        student_hidden = projection(student_hidden)
    real = mask.bool()
    teacher = teacher_hidden[real].float()
    difference = student_hidden[real].float() - teacher
    return difference.square().sum() / teacher.square().sum()


def mean_state(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean over tokens (batch, 1, D) of `hidden` (batch, seq, D).

    `mask` (batch, seq) is 0 at padding, which the mean leaves out.
    """
    weights = mask.unsqueeze(-1).float()
    return (hidden.float() * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True)


def attention_loss(
    student_attention: torch.Tensor, teacher_attention: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Return KL(teacher || student) of attention in nats, mean over heads and unpadded tokens.

    Both distributions are (batch, heads, seq, seq) after the softmax. `mask` (batch, seq) is 0 at
    padding. If the numbers of heads differ, the means over the heads are compared.

    Source: Sun et al. (2020), MobileBERT, equation 2. Library models return the distributions only,
    not the scores that TinyBERT compares.
    """
    student, teacher = student_attention.float(), teacher_attention.float()
    if student.shape[1] != teacher.shape[1]:
        student, teacher = (x.mean(1, keepdim=True) for x in (student, teacher))
    tiny = torch.finfo(torch.float32).tiny
    ratio = teacher.clamp_min(tiny).log() - student.clamp_min(tiny).log()
    divergence = (teacher * ratio).sum(-1)  # (batch, heads, seq)
    real = mask[:, None, :].to(divergence.dtype).expand_as(divergence)
    return (divergence * real).sum() / real.sum()
