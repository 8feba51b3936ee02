from pathlib import Path

import numpy as np
import torch

from lmopt.compression.student import build_student
from lmopt.data.tokens import pad
from lmopt.models.loading import load_classifier, load_tokenizer
from lmopt.models.static import StaticClassifier, make_static, principal_components
from lmopt.runtimes.openvino.artifact import build_artifact
from lmopt.runtimes.sessions import open_session


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    sequences = [np.array([2, 7, 9, 11, 3], np.int32), np.array([2, 8, 3], np.int32)]
    input_ids, mask = pad(sequences, 0)
    return torch.from_numpy(input_ids), torch.from_numpy(mask)


def test_it_saves_reloads_and_runs_as_an_artifact(classifier_folder: Path, tmp_path: Path) -> None:
    folder, artifact = tmp_path / "static", tmp_path / "artifact"
    build_student(classifier_folder, None, 0, 3, folder, static_width=16, static_hidden=8)
    model = load_classifier(folder).eval()
    assert isinstance(model, StaticClassifier)
    assert model.config.id2label == load_classifier(classifier_folder).config.id2label
    input_ids, mask = batch()
    with torch.inference_mode():
        expected = model(input_ids, mask).logits.numpy()
    artifact.mkdir()
    build_artifact(folder, 32, artifact, bits=32)
    got = open_session(artifact, 1)(input_ids.numpy(), mask.numpy())
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_padding_and_order_do_not_count(classifier_folder: Path) -> None:
    model = make_static(
        load_classifier(classifier_folder), load_tokenizer(classifier_folder),
        width=16, hidden=8, seed=0,
    ).eval()  # fmt: skip
    torch.nn.init.normal_(model.scores.weight)
    input_ids, mask = batch()
    with torch.inference_mode():
        both = model(input_ids, mask).logits
        alone = model(input_ids[1:, :3], mask[1:, :3]).logits
        turned = model(input_ids[:1].flip(1), mask[:1]).logits
    torch.testing.assert_close(both[1:], alone)
    torch.testing.assert_close(both[:1], turned)


def test_pooling_is_a_weighted_mean(classifier_folder: Path) -> None:
    model = make_static(
        load_classifier(classifier_folder), load_tokenizer(classifier_folder),
        width=16, hidden=8, seed=0,
    ).eval()  # fmt: skip
    torch.nn.init.normal_(model.scores.weight)
    ids = torch.tensor([[7, 9, 11]])
    weights = model.scores.weight[ids[0], 0].exp()
    mean = (weights[:, None] * model.embeddings.weight[ids[0]]).sum(0) / weights.sum()
    expected = model.classifier(torch.relu(model.dense(mean)))
    torch.testing.assert_close(model(ids, torch.ones_like(ids)).logits[0], expected)


def test_principal_components_keep_the_most_variance() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 6)) @ np.diag([9, 5, 3, 1, 0.5, 0.1]) @ rng.normal(size=(6, 6))
    projected = principal_components(torch.tensor(vectors), 3).numpy()
    centred = vectors - vectors.mean(0)
    singular = np.linalg.svd(centred, compute_uv=False)[:3]
    norms = np.linalg.norm(projected, axis=0)
    np.testing.assert_allclose(norms / norms[0], singular / singular[0], rtol=1e-6)
    assert np.isclose(projected.std(), 1, atol=1e-2)
    assert principal_components(torch.tensor(vectors), 9)[:, 6:].abs().max() == 0
