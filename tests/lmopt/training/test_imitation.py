import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    RobertaConfig,
)

from lmopt.compression.distillation import distill
from lmopt.compression.student import build_student
from lmopt.data.batches import Examples
from lmopt.data.tokens import tokenize
from lmopt.models.loading import load_classifier, load_tokenizer, save_model
from lmopt.training import trainer as training
from lmopt.training.imitation import FeatureLoss, check_features, feature_loss, token_map
from lmopt.training.losses import attention_loss, hidden_loss
from lmopt.training.trainer import TrainingSettings, newest_checkpoint

SETTINGS = TrainingSettings(epochs=1, learning_rate=1e-3, batch_size=8, dropout=0.0, device="cpu")
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def states(width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 5, width, generator=generator, dtype=torch.float64)


def distributions(heads: int, seed: int, mask: torch.Tensor = MASK) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, heads, 5, 5, generator=generator, dtype=torch.float64)
    return scores.masked_fill(mask[:, None, None, :] == 0, -torch.inf).softmax(-1)


def numeric_gradient(f: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Central differences, one entry at a time; the losses are computed in fp32."""
    gradient = torch.zeros_like(x)
    for index in np.ndindex(*x.shape):
        shifted = [x.clone(), x.clone()]
        shifted[0][index] += 1e-2
        shifted[1][index] -= 1e-2
        gradient[index] = (f(shifted[0]) - f(shifted[1])) / 2e-2
    return gradient


def test_hidden_loss_is_a_share_and_its_gradient_is_right() -> None:
    student, teacher = states(3, 0).requires_grad_(), states(4, 1)
    projection = nn.Linear(3, 4, bias=False).double()
    loss = hidden_loss(student, teacher, MASK, projection)
    real = MASK.bool().numpy()
    projected = student.detach().numpy() @ projection.weight.detach().numpy().T
    error = ((projected - teacher.numpy())[real] ** 2).sum()
    assert loss.item() == pytest.approx(error / (teacher.numpy()[real] ** 2).sum(), rel=1e-5)
    loss.backward()
    numeric = numeric_gradient(
        lambda x: hidden_loss(x, teacher, MASK, projection), student.detach()
    )
    torch.testing.assert_close(student.grad, numeric, atol=1e-4, rtol=1e-3)


def test_hidden_loss_of_equal_zero_wider_and_rescaled_states() -> None:
    teacher = states(4, 0)
    assert hidden_loss(teacher, teacher, MASK).item() == 0
    assert hidden_loss(0 * teacher, teacher, MASK).item() == pytest.approx(1)
    student = states(4, 1)
    loss = hidden_loss(student, teacher, MASK).item()
    wider = [torch.cat([x, x, x], -1) for x in (student, teacher)]
    assert hidden_loss(*wider, MASK).item() == pytest.approx(loss)
    assert hidden_loss(100 * student, 100 * teacher, MASK).item() == pytest.approx(loss)


def test_attention_loss_is_the_divergence_and_its_gradient_is_right() -> None:
    teacher = distributions(2, 0)
    student = distributions(2, 1)
    p, q = teacher.numpy(), student.numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / q), 0.0).sum(-1)  # (batch, heads, seq)
    rows = [terms[0], terms[1][:, :3]]
    expected = np.concatenate([row.ravel() for row in rows]).mean()
    assert attention_loss(student, teacher, MASK).item() == pytest.approx(expected, rel=1e-5)

    scores = torch.randn(2, 2, 5, 5, generator=torch.Generator().manual_seed(2))
    scores = scores.double().masked_fill(MASK[:, None, None, :] == 0, -1e9).requires_grad_()
    attention_loss(scores.softmax(-1), teacher, MASK).backward()
    # Of KL through a softmax: (student - teacher) / number of rows, zero at padding.
    exact = (scores.softmax(-1) - teacher).detach() * MASK[:, None, :, None] / (8 * 2)
    torch.testing.assert_close(scores.grad, exact, atol=1e-6, rtol=1e-4)
    numeric = numeric_gradient(
        lambda x: attention_loss(x.softmax(-1), teacher, MASK), scores.detach()
    )
    torch.testing.assert_close(scores.grad, numeric, atol=1e-4, rtol=1e-2)


def test_attention_of_another_number_of_heads_is_compared_by_its_mean() -> None:
    teacher = distributions(4, 0)
    assert attention_loss(teacher, teacher, MASK).item() == pytest.approx(0, abs=1e-6)
    mean = teacher.mean(1, keepdim=True)
    assert attention_loss(mean, teacher, MASK).item() == pytest.approx(0, abs=1e-6)
    assert attention_loss(distributions(2, 1), teacher, MASK).item() > 0.01


def test_what_is_padded_changes_nothing() -> None:
    student, teacher = states(4, 0), states(4, 1)
    garbage = torch.where(MASK[..., None].bool(), student, torch.full_like(student, 1e6))
    assert hidden_loss(garbage, teacher, MASK) == hidden_loss(student, teacher, MASK)
    wide = nn.functional.pad(student, (0, 0, 0, 3)), nn.functional.pad(teacher, (0, 0, 0, 3))
    mask = nn.functional.pad(MASK, (0, 3))
    assert hidden_loss(*wide, mask).item() == pytest.approx(
        hidden_loss(student, teacher, MASK).item()
    )
    attentions = distributions(2, 0), distributions(2, 1)
    wide = tuple(nn.functional.pad(x, (0, 3, 0, 3)) for x in attentions)  # type: ignore[assignment]
    assert attention_loss(*wide, mask).item() == pytest.approx(
        attention_loss(*attentions, MASK).item()
    )


@pytest.fixture(scope="module")
def examples(classifier_folder: Path, texts: list[tuple[str, str, str]]) -> Examples:
    topics = sorted({topic for _, topic, _ in texts})
    rows = texts[::3]
    tokens = tokenize(load_tokenizer(classifier_folder), [text for text, _, _ in rows], 32)
    labels = np.asarray([topics.index(topic) for _, topic, _ in rows])
    logits = np.eye(3, dtype=np.float32)[labels] * 3
    return Examples(tokens, labels, logits)


def losses(student: Path, teacher: Path, **weights: float) -> FeatureLoss:
    options = {"hidden_weight": 0.0, "attention_weight": 0.0} | weights
    return feature_loss(load_classifier(student), student, teacher, seed=0, **options)  # type: ignore[arg-type]


def loss_of(features: FeatureLoss, ids: torch.Tensor, mask: torch.Tensor) -> float:
    features.student.eval()
    outputs = features.student(ids, attention_mask=mask, **features.outputs)
    return features(outputs, ids, mask).item()


@pytest.fixture(scope="module")
def lively_folder(classifier_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small classifier with weights so large that its layers differ."""
    model = load_classifier(classifier_folder)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    folder: Path = tmp_path_factory.mktemp("lively")
    save_model(model, load_tokenizer(classifier_folder), folder)
    return folder


@pytest.mark.parametrize("weights", [{"hidden_weight": 1.0}, {"attention_weight": 1.0}])
def test_a_student_equal_to_its_teacher_has_no_loss(
    lively_folder: Path, tmp_path: Path, weights: dict[str, float]
) -> None:
    generator = torch.Generator().manual_seed(0)
    ids, mask = torch.randint(5, 60, (2, 5), generator=generator), MASK
    same = losses(lively_folder, lively_folder, **weights)
    assert loss_of(same, ids, mask) == pytest.approx(0, abs=1e-6)
    build_student(lively_folder, None, 2, 0, tmp_path)
    fewer = losses(tmp_path, lively_folder, **weights)
    assert fewer.layers == [1, 3]
    value = loss_of(fewer, ids, mask)
    assert value > 0.01
    doubled = {name: 2 * weight for name, weight in weights.items()}
    assert loss_of(losses(tmp_path, lively_folder, **doubled), ids, mask) == pytest.approx(
        2 * value
    )


def test_a_kept_prefix_has_no_hidden_loss_but_in_its_last_layer(
    lively_folder: Path, tmp_path: Path
) -> None:
    """The outputs of layers 0 and 1 are the teacher's own; only the third answers to the last."""
    build_student(lively_folder, None, 3, 0, tmp_path, choice="first")
    features = losses(tmp_path, lively_folder, hidden_weight=1.0)
    assert features.layers == [0, 1, 3]
    ids = torch.randint(5, 60, (2, 5), generator=torch.Generator().manual_seed(0))
    features.student.eval()
    outputs = features.student(ids, attention_mask=MASK, output_hidden_states=True)
    teacher = features.teacher(ids, attention_mask=MASK, output_hidden_states=True)
    last = hidden_loss(outputs.hidden_states[3], teacher.hidden_states[4], MASK)
    assert features(outputs, ids, MASK).item() == pytest.approx(last.item() / 3, rel=1e-5)


SMALL = {"vocab_size": 50, "num_labels": 3, "max_position_embeddings": 40, "pad_token_id": 1}
SHAPE = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
ENCODER = SMALL | SHAPE | {"intermediate_size": 32}
FAMILIES: dict[str, Any] = {
    "distilbert": DistilBertConfig(**SMALL, dim=16, n_layers=3, n_heads=2, hidden_dim=32),
    "roberta": RobertaConfig(**ENCODER),
    "electra": ElectraConfig(**ENCODER, embedding_size=8),
    "albert": AlbertConfig(**ENCODER, embedding_size=8),
    "mpnet": MPNetConfig(**ENCODER),
    "deberta-v2": DebertaV2Config(**ENCODER, relative_attention=True, pos_att_type=["c2p", "p2c"]),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_families_show_what_is_compared(family: str) -> None:
    """Every layer has hidden states and attention that sums to 1; a copy has no loss."""
    torch.manual_seed(0)
    student, teacher = (
        AutoModelForSequenceClassification.from_config(FAMILIES[family]).eval() for _ in range(2)
    )
    options = {"hidden_weight": 1.0, "attention_weight": 1.0, "seed": 0}
    features = FeatureLoss(student, teacher, teacher.config, torch.arange(50), **options)
    ids = torch.randint(2, 50, (2, 5), generator=torch.Generator().manual_seed(0))
    ids = ids * MASK + (1 - MASK)
    outputs = student(ids, attention_mask=MASK, **features.outputs)
    assert len(outputs.hidden_states) == 4
    assert len(outputs.attentions) == 3
    sums = torch.stack(outputs.attentions).sum(-1)[:, MASK[:, None, :].expand(2, 2, 5).bool()]
    torch.testing.assert_close(sums, torch.ones_like(sums))
    assert features(outputs, ids, MASK).item() > 1e-3
    teacher.load_state_dict(student.state_dict())
    assert features(outputs, ids, MASK).item() == pytest.approx(0, abs=1e-6)


def test_tokens_are_mapped_by_name_and_others_refused(
    classifier_folder: Path, student_folder: Path
) -> None:
    teacher, student = load_tokenizer(classifier_folder), load_tokenizer(student_folder)
    assert token_map(teacher, teacher).tolist() == list(range(len(teacher)))
    with pytest.raises(ValueError, match=r"7 of its \d+ \(such as '\[unused\d\]'\) are not in"):
        token_map(student, teacher)  # It has seven tokens more.
    ids = token_map(teacher, student)  # The other way around it knows fewer: as a trimmed one.
    for token, i in teacher.get_vocab().items():
        assert student.get_vocab()[token] == ids[i]


def test_check_says_what_does_not_go(classifier_folder: Path, student_folder: Path) -> None:
    check_features(classifier_folder, classifier_folder, 1.0, 0.0)
    check_features(classifier_folder, classifier_folder, 0.0, None)
    with pytest.raises(ValueError, match="set all three to 0") as error:
        check_features(student_folder, classifier_folder, 0.0, 0.0)
    assert "\n" not in str(error.value)
    for dropout, got in ((None, "the model's own"), (0.1, "0.1")):
        with pytest.raises(ValueError, match=f"needs dropout 0 .*got {got}: set recipe.dropout"):
            check_features(classifier_folder, classifier_folder, 1.0, dropout)


def test_training_brings_the_hidden_states_nearer_and_leaves_the_teacher_alone(
    classifier_folder: Path, make_bert: Callable[..., Path], examples: Examples, tmp_path: Path
) -> None:
    """A narrower student: its projection is trained with it, and is not in what is saved."""
    narrow = make_bert(hidden=24, layers=2, heads=2, ffn=40, seed=1)
    build_student(narrow, ["а", "б", "в"], None, 0, tmp_path / "student")
    model = load_classifier(tmp_path / "student")
    features = feature_loss(
        model, tmp_path / "student", classifier_folder,
        hidden_weight=1.0, attention_weight=1.0, seed=0,
    )  # fmt: skip
    assert features.teacher is not None
    before = {name: value.clone() for name, value in features.teacher.state_dict().items()}
    start = model.feature_projection.weight.detach().clone()
    ids = torch.from_numpy(np.stack([examples.tokens[i][:8] for i in range(4)]).astype(np.int64))
    mask = torch.ones_like(ids)
    first = loss_of(features, ids, mask)
    training.train_classifier(
        model, examples, lambda logits, labels, teacher: logits.sum() * 0, SETTINGS,
        scratch=tmp_path / "scratch", stage="distill", features=features,
    )  # fmt: skip
    assert loss_of(features, ids, mask) < 0.8 * first
    assert not torch.equal(model.feature_projection.weight, start)
    for name, value in features.teacher.state_dict().items():
        assert torch.equal(value, before[name])
    features.detach()
    assert not any("projection" in name for name, _ in model.named_parameters())


def run(student: Path, teacher: Path, examples: Examples, folder: Path, **changes: int) -> Path:
    distill(
        student, examples, replace(SETTINGS, **changes), temperature=2.0, alpha=0.5,
        folder=folder / "model", scratch=folder / "scratch",
        teacher=teacher, hidden_weight=1.0, attention_weight=1.0,
    )  # fmt: skip
    return folder / "model"


KILLED = """
import os, sys, pickle, signal
from pathlib import Path
from lmopt.environment import configure_libraries
configure_libraries(1)
from lmopt.training import trainer as training
from lmopt.compression.distillation import distill
student, teacher, folder, pickled = map(Path, sys.argv[1:])
examples, settings = pickle.loads(pickled.read_bytes())
training.CHECKPOINT_SECONDS = 0.0
on_save = training.StepCallback.on_save
def die(self, args, state, control, **kwargs):
    on_save(self, args, state, control, **kwargs)
    if state.global_step == 9:
        os.kill(os.getpid(), signal.SIGKILL)
training.StepCallback.on_save = die
distill(student, examples, settings, temperature=2.0, alpha=0.5, folder=folder / "model",
        scratch=folder / "scratch", teacher=teacher, hidden_weight=1.0, attention_weight=1.0)
"""


def test_a_killed_training_beside_a_teacher_continues_to_the_same_end(
    classifier_folder: Path, make_bert: Callable[..., Path], examples: Examples, tmp_path: Path
) -> None:
    """The projection and its optimizer state are in the checkpoint; seeds decide the rest."""
    import pickle

    narrow = make_bert(hidden=24, layers=2, heads=2, ffn=40, seed=1)
    build_student(narrow, ["а", "б", "в"], None, 0, tmp_path / "student")
    student, teacher = tmp_path / "student", classifier_folder
    pickled = tmp_path / "examples.pickle"
    pickled.write_bytes(pickle.dumps((examples, SETTINGS)))
    command = [sys.executable, "-c", KILLED, *map(str, (student, teacher, tmp_path, pickled))]
    killed = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    newest = newest_checkpoint(tmp_path / "scratch")
    assert newest is not None
    assert newest.name == "checkpoint-9"
    continued = load_classifier(run(student, teacher, examples, tmp_path)).state_dict()
    whole = load_classifier(run(student, teacher, examples, tmp_path / "whole")).state_dict()
    other = run(student, teacher, examples, tmp_path / "other", seed=1)
    assert continued.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(continued[name], value, rtol=0, atol=1e-6)
    name = "classifier.weight"
    assert not torch.equal(load_classifier(other).state_dict()[name], whole[name])
