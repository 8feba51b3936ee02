from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from lmopt.compression.student import build_student
from lmopt.compression.width import hidden_components, narrow_width
from lmopt.data.tokens import Tokens
from lmopt.models.loading import load_classifier


def texts() -> Tokens:
    ids = np.random.default_rng(0).integers(5, 40, 12 * 12).astype(np.int32)
    return Tokens(ids, np.arange(0, 145, 12))


def random_model(folder: Path) -> PreTrainedModel:
    torch.manual_seed(0)
    model = load_classifier(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def test_the_components_hold_the_most_of_the_hidden_states(classifier_folder: Path) -> None:
    model = random_model(classifier_folder).eval()
    rows = []
    with torch.inference_mode():
        for i in range(12):
            ids = torch.from_numpy(texts()[i].astype(np.int64))[None]
            states = model.base_model(ids, output_hidden_states=True).hidden_states
            rows += [state[0] for state in states]
    together = torch.cat(rows)
    directions = hidden_components(model, texts(), 16)
    torch.testing.assert_close(directions.T @ directions, torch.eye(16), atol=1e-4, rtol=0)
    best = torch.linalg.svdvals(together)[:16].square().sum()
    kept = (together @ directions).square().sum()
    assert kept == pytest.approx(float(best), rel=1e-4)


def test_it_is_a_plain_smaller_model_that_reloads(classifier_folder: Path, tmp_path: Path) -> None:
    build_student(classifier_folder, None, 2, 0, tmp_path, hidden_size=32, tokens=texts())
    model = load_classifier(tmp_path)
    assert (model.config.hidden_size, model.config.num_attention_heads) == (32, 2)
    assert model.config.intermediate_size == 64
    assert not hasattr(model.config, "lmopt_shape")
    assert model(torch.ones(2, 5, dtype=torch.long)).logits.shape == (2, 3)


def test_dimensions_that_carry_nothing_are_cut_without_loss(classifier_folder: Path) -> None:
    """Embeddings that live in half of the dimensions lose nothing in the other half."""
    model = random_model(classifier_folder).eval()
    table = model.get_input_embeddings()
    with torch.no_grad():
        for embedding in (m for m in model.modules() if isinstance(m, torch.nn.Embedding)):
            embedding.weight[:, 32:] = 0
    ids = torch.arange(5, 25)[None]
    embedded = table(ids) + table(ids).roll(1, dims=1)
    moment = embedded[0].T @ embedded[0]
    assert torch.linalg.matrix_rank(moment) <= 32
    small = narrow_width(model, texts(), 48)
    norms = small.get_input_embeddings()(ids).norm(dim=-1)
    assert small.get_input_embeddings().weight.shape[1] == 48
    assert (norms <= table(ids).norm(dim=-1) + 1e-5).all()


@pytest.mark.parametrize("width", [64, 96, 20])
def test_impossible_widths_are_refused(width: int, classifier_folder: Path) -> None:
    with pytest.raises(ValueError, match=f"multiple of 16 .* below 64 .* got {width}"):
        narrow_width(load_classifier(classifier_folder), texts(), width)
