from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn

from lmopt.compression.clustering import clustered, codebook_of, nearest, share
from lmopt.data.tokens import pad
from lmopt.models.loading import load_classifier, load_tokenizer, save_model
from lmopt.runtimes.manifest import read_manifest
from lmopt.runtimes.openvino.artifact import build_artifact
from lmopt.runtimes.openvino.weights import store
from lmopt.runtimes.sessions import open_session
from lmopt.weights.plan import Codebook, plan_storage


@pytest.mark.parametrize("clusters", [2, 4, 16, 200])
def test_centroids_are_as_good_as_k_means_on_all_weights(clusters: int) -> None:
    weights = np.random.default_rng(0).normal(size=(300, 400)).astype(np.float32)
    codebook = codebook_of(weights, clusters)
    assert len(codebook) == clusters
    error = ((codebook[nearest(weights, codebook)] - weights) ** 2).mean()
    best = KMeans(clusters, n_init=1, random_state=0).fit(weights.reshape(-1, 1))
    assert error <= 1.1 * best.inertia_ / weights.size


def test_fewer_distinct_weights_than_clusters_are_kept_as_they_are() -> None:
    weights = np.array([[0, 0, 0, 0, 1.5], [0, 0, 0, -2, 1.5]], np.float32)
    codebook = codebook_of(weights, 16)
    np.testing.assert_array_equal(codebook, [-2, 0, 1.5])
    np.testing.assert_array_equal(codebook[nearest(weights, codebook)], weights)


def test_a_value_s_gradient_is_the_sum_over_its_weights() -> None:
    codebook = torch.tensor([-1.0, 0.0, 0.5, 2.0], requires_grad=True)
    weight = torch.randn(6, 5, requires_grad=True)
    direction = torch.randn(6, 5)
    shared = share(weight, codebook)
    distance = (weight.detach()[..., None] - codebook.detach()).abs()
    indices = distance.argmin(-1)
    torch.testing.assert_close(shared, codebook[indices])
    (shared * direction).sum().backward()
    expected = torch.stack([direction[indices == i].sum() for i in range(4)])
    torch.testing.assert_close(codebook.grad, expected)
    torch.testing.assert_close(weight.grad, direction)


def test_training_moves_centroids_together_and_embeddings_too() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(50, 16), nn.Linear(16, 8))
    ids = torch.arange(50)
    with clustered(model, {"0.weight": Codebook(4), "1.weight": Codebook(8)}):
        before = model(ids).detach()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        model(ids).square().sum().backward()
        optimizer.step()
        after = model(ids).detach()
    assert (after - before).abs().max() > 1e-2
    assert isinstance(model[0], nn.Embedding)
    assert isinstance(model[1], nn.Linear)
    assert len(model[0].weight.unique()) == 4
    assert len(model[1].weight.unique()) == 8
    assert dict(model.named_parameters()).keys() == {"0.weight", "1.weight", "1.bias"}
    torch.testing.assert_close(model(ids), after, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("clusters", [2, 4, 8, 16, 64, 256])
def test_the_artifact_holds_codebooks_and_computes_the_clustered_model(
    clusters: int, classifier_folder: Path, tmp_path: Path
) -> None:
    model = load_classifier(classifier_folder).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # OpenVINO stores equal constants once.
            parameter.add_(0.01 * torch.randn_like(parameter))
    storage = {"bits": 32, "clusters": clusters}
    with clustered(model, plan_storage(model, **storage)):
        pass
    save_model(model, load_tokenizer(classifier_folder), tmp_path / "model")
    (tmp_path / "artifact").mkdir()
    build_artifact(tmp_path / "model", 32, tmp_path / "artifact", **storage)
    input_ids, mask = pad([np.arange(5, 15, dtype=np.int32), np.arange(3, dtype=np.int32)], 0)
    with torch.inference_mode():
        expected = model(torch.from_numpy(input_ids), torch.from_numpy(mask)).logits.numpy()
    got = open_session(tmp_path / "artifact", 1)(input_ids, mask)
    np.testing.assert_allclose(got, expected, atol=0.05)  # bf16 where the processor has it
    matrices = sum(p.numel() for p in model.parameters() if p.dim() == 2)
    vectors = sum(p.numel() for p in model.parameters() if p.dim() == 1)
    bits = Codebook(clusters).bits_per_weight
    stored = (tmp_path / "artifact" / "model.bin").stat().st_size
    codebooks = 2 * clusters * len(plan_storage(model, **storage))
    assert stored == pytest.approx(matrices * bits / 8 + 4 * vectors + codebooks, rel=0.05)
    assert read_manifest(tmp_path / "artifact").size_bytes > stored


def test_a_model_that_was_not_clustered_is_refused() -> None:
    import openvino as ov

    holder = nn.Module()
    holder.model = nn.Linear(16, 16)
    holder.forward = lambda x: holder.model(x)
    converted = ov.convert_model(holder, example_input=torch.ones(1, 16))
    with pytest.raises(ValueError, match="256 distinct values, its codebook 4: cluster it first"):
        store(converted, {"weight": Codebook(4)})
