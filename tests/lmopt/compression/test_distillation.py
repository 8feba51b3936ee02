import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from lmopt.training.losses import distillation_loss, kd_loss


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64) * 3
    return draw[0], draw[1]


def written_out(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    """The definition, in numpy: T^2 * mean over the batch of sum p log(p / q)."""
    p, q = (np.exp(z / temperature) for z in (teacher, student))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    return float(temperature**2 * (p * np.log(p / q)).sum(1).mean())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_value_and_gradient(logits: tuple[torch.Tensor, torch.Tensor], temperature: float) -> None:
    student, teacher = logits[0].requires_grad_(), logits[1]
    loss = kd_loss(student, teacher, temperature)
    expected = written_out(student.detach().numpy(), teacher.numpy(), temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    loss.backward()
    numeric = np.zeros(student.shape)
    for index in np.ndindex(student.shape):
        shifted = [student.detach().numpy().copy() for _ in range(2)]
        shifted[0][index] += 1e-5
        shifted[1][index] -= 1e-5
        values = [written_out(s, teacher.numpy(), temperature) for s in shifted]
        numeric[index] = (values[0] - values[1]) / 2e-5
    assert student.grad is not None
    np.testing.assert_allclose(student.grad.numpy(), numeric, atol=1e-7)


def test_high_temperature_matches_centred_logits(
    logits: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Hinton et al., section 2.1: T -> infinity turns it into half the mean squared difference."""
    student, teacher = (z - z.mean(1, keepdim=True) for z in logits)
    expected = ((student - teacher) ** 2).sum(1).mean() / (2 * student.shape[1])
    assert kd_loss(*logits, temperature=1e4).item() == pytest.approx(expected.item(), rel=1e-3)


def test_alpha_mixes_soft_and_hard(logits: tuple[torch.Tensor, torch.Tensor]) -> None:
    student, teacher = logits
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    hard, soft = cross_entropy(student, labels), kd_loss(student, teacher, 2.0)
    mixed = distillation_loss(2.0, 0.3)(student, labels, teacher)
    assert mixed.item() == pytest.approx((0.3 * soft + 0.7 * hard).item())
    assert distillation_loss(2.0, 0.0)(student, labels, None).item() == pytest.approx(hard.item())
    with pytest.raises(ValueError, match="needs the teacher's logits"):
        distillation_loss(2.0, 0.3)(student, labels, None)


def test_gradient_at_high_temperature(logits: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Hinton et al., equation 4: (student - teacher) / classes of centred logits, by batch size."""
    student, teacher = logits[0].requires_grad_(), logits[1]
    kd_loss(student, teacher, temperature=1e4).backward()
    centred = [z.detach() - z.detach().mean(1, keepdim=True) for z in (student, teacher)]
    expected = (centred[0] - centred[1]) / (5 * 6)
    torch.testing.assert_close(student.grad, expected, rtol=1e-2, atol=1e-4)


def test_texts_without_a_label_have_the_soft_loss_only(
    logits: tuple[torch.Tensor, torch.Tensor],
) -> None:
    student, teacher = logits
    loss = distillation_loss(2.0, 0.3)
    labels = torch.tensor([0, 1, -1, 3, -1, 0])
    known = labels >= 0
    hard = cross_entropy(student[known], labels[known], reduction="sum") / 6
    expected = 0.3 * kd_loss(student, teacher, 2.0) + 0.7 * hard
    assert loss(student, labels, teacher).item() == pytest.approx(expected.item())
    none = torch.full((6,), -1)
    soft = 0.3 * kd_loss(student, teacher, 2.0)
    assert loss(student, none, teacher).item() == pytest.approx(soft.item())
