from pathlib import Path

import numpy as np
import pytest
import torch

from lmopt.compression.layers import LAYER_CHOICES, choose_layers, layer_importance
from lmopt.compression.student import build_student
from lmopt.data.tokens import Tokens
from lmopt.models.families.registry import encoder_layers
from lmopt.models.loading import load_classifier
from lmopt.training.imitation import layer_map


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 20, 24)
    return Tokens(
        rng.integers(5, 60, lengths.sum()).astype(np.int32), np.append(0, np.cumsum(lengths))
    )


def test_even_layers_are_evenly_spaced_and_end_with_the_last() -> None:
    assert choose_layers(6, 2) == [2, 5]
    assert choose_layers(6, 3) == [1, 3, 5]
    assert choose_layers(12, 1) == [11]
    for count in range(1, 13):
        for keep in range(1, count + 1):
            indices = choose_layers(count, keep)
            assert len(set(indices)) == keep
            assert indices[-1] == count - 1
            gaps = [b - a for a, b in zip([-1, *indices], indices, strict=False)]
            assert max(gaps) - min(gaps) <= 1


def test_first_last_and_most_important() -> None:
    importance = np.array([0.3, 0.1, 0.5, 0.2, 0.4])
    assert choose_layers(5, 2, "first") == [0, 1]
    assert choose_layers(5, 2, "last") == [3, 4]
    assert choose_layers(5, 2, "importance", importance) == [2, 4]
    assert choose_layers(5, 3, "importance", importance) == [0, 2, 4]
    for choice in LAYER_CHOICES:
        assert choose_layers(5, 5, choice, importance) == [0, 1, 2, 3, 4]
        with pytest.raises(ValueError, match=r"layers must be in \[1, 5\] for this model, got 6"):
            choose_layers(5, 6, choice, importance)
    with pytest.raises(ValueError, match="needs the measured importance"):
        choose_layers(5, 2, "importance")


def test_importance_is_the_definition_and_padding_does_not_count(
    classifier_folder: Path, tokens: Tokens
) -> None:
    model = load_classifier(classifier_folder)
    batched = layer_importance(model, tokens, batch_size=7)
    sums = np.zeros(4)
    for i in range(len(tokens)):  # One text at a time, in numpy: nothing is padded.
        ids = torch.from_numpy(tokens[i].astype(np.int64))[None]
        with torch.no_grad():
            states = [s[0].numpy() for s in model(ids, output_hidden_states=True).hidden_states]
        for j in range(4):
            dot = (states[j] * states[j + 1]).sum(1)
            norms = np.linalg.norm(states[j], axis=1) * np.linalg.norm(states[j + 1], axis=1)
            sums[j] += (1 - dot / norms).sum()
    np.testing.assert_allclose(batched, sums / len(tokens.ids), rtol=1e-4)


def test_a_layer_that_does_nothing_is_the_least_important(
    classifier_folder: Path, tokens: Tokens
) -> None:
    """Its output projections are zero and its norms pass on what is normal already."""
    model = load_classifier(classifier_folder)
    idle = encoder_layers(model)[2]
    with torch.no_grad():
        for name, parameter in idle.named_parameters():
            if name.startswith(("attention.output.dense", "output.dense")):
                parameter.zero_()
    importance = layer_importance(model, tokens)
    assert importance[2] == pytest.approx(0, abs=1e-6)
    assert min(importance[[0, 1, 3]]) > 1e-4
    assert 2 not in choose_layers(4, 3, "importance", importance)


def test_layer_map() -> None:
    assert layer_map(3, 12) == [3, 7, 11]  # TinyBERT's uniform mapping.
    assert layer_map(6, 6) == list(range(6))
    assert layer_map(2, 6, kept=[2, 5], kept_of=6) == [2, 5]
    assert layer_map(2, 6, kept=[0, 1], kept_of=6) == [0, 5]  # The head reads the last one.
    assert layer_map(2, 3, kept=[2, 5], kept_of=6) == [0, 2]  # An assistant of half the layers.
    assert layer_map(4, 2) == [0, 0, 0, 1]  # A student deeper than its teacher.
    for student in range(1, 13):
        for teacher in range(1, 13):
            found = layer_map(student, teacher)
            assert found == sorted(found)
            assert found[-1] == teacher - 1
            assert min(found) >= 0


def test_students_know_where_their_layers_came_from(
    classifier_folder: Path, tokens: Tokens, tmp_path: Path
) -> None:
    build_student(classifier_folder, None, 3, 0, tmp_path / "three", choice="last")
    build_student(tmp_path / "three", None, 1, 0, tmp_path / "one", choice="first")
    full, three, one = (
        load_classifier(f) for f in (classifier_folder, tmp_path / "three", tmp_path / "one")
    )
    assert (three.config.kept_layers, three.config.kept_of) == ([1, 2, 3], 4)
    assert (one.config.kept_layers, one.config.kept_of) == ([1], 4)
    kept = encoder_layers(one)[0].state_dict()
    for name, value in encoder_layers(full)[1].state_dict().items():
        assert torch.equal(kept[name], value)
    build_student(
        classifier_folder, None, 2, 0, tmp_path / "two", choice="importance", tokens=tokens
    )
    best = sorted(np.argsort(-layer_importance(full, tokens))[:2].tolist())
    assert load_classifier(tmp_path / "two").config.kept_layers == best
    with pytest.raises(ValueError, match="needs the measured importance"):
        build_student(classifier_folder, None, 2, 0, tmp_path / "none", choice="importance")
