from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    PreTrainedModel,
    RobertaConfig,
)

from lmopt.models.embeddings import factorize_embeddings, trim_embeddings, word_table
from lmopt.models.loading import load_classifier

NARROW = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 60,
}
THIN = NARROW | {"embedding_size": 8}
DISTIL = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
FAMILIES = {
    "bert": (BertConfig, NARROW),
    "distilbert": (DistilBertConfig, DISTIL),
    "roberta": (RobertaConfig, NARROW),
    "mpnet": (MPNetConfig, NARROW),
    "electra": (ElectraConfig, THIN),
    "albert": (AlbertConfig, THIN),
    "deberta-v2": (DebertaV2Config, NARROW | {"relative_attention": True}),
}
IDS = torch.randint(4, 90, (3, 12), generator=torch.Generator().manual_seed(0))


def random_classifier(family: str, pad_token_id: int = 1, **changes: int) -> PreTrainedModel:
    torch.manual_seed(0)
    kind, sizes = FAMILIES[family]
    config = kind(**sizes | changes, vocab_size=90, num_labels=3, pad_token_id=pad_token_id)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@torch.inference_mode()
def logits(model: PreTrainedModel, ids: torch.Tensor = IDS) -> torch.Tensor:
    return model.eval()(ids).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_a_factorised_model_reloads_and_is_the_product_s_model(family: str, tmp_path: Path) -> None:
    """The same logits as with the product of the two factors in place of the word embeddings."""
    model, dense = random_classifier(family), random_classifier(family)
    factorize_embeddings(model, 5)
    first, second = model.get_input_embeddings()
    with torch.no_grad():
        word_table(dense).weight.copy_(first.weight @ second.weight.T)
    torch.testing.assert_close(logits(model), logits(dense))
    model.save_pretrained(tmp_path)
    reloaded = load_classifier(tmp_path)
    assert type(reloaded) is type(model)
    assert reloaded.config.lmopt_shape == {"embedding_rank": 5}
    torch.testing.assert_close(logits(reloaded), logits(model), rtol=0, atol=0)
    reloaded.save_pretrained(tmp_path / "again")  # As every later stage does.
    again = load_classifier(tmp_path / "again")
    torch.testing.assert_close(logits(again), logits(model), rtol=0, atol=0)
    new_head = load_classifier(tmp_path, ["a", "b", "c", "d"])
    assert logits(new_head).shape == (3, 4)
    assert torch.equal(word_table(new_head).weight, word_table(model).weight)


@pytest.mark.parametrize("rank", [1, 4, 15])
def test_no_product_of_that_rank_is_nearer(rank: int) -> None:
    """Eckart and Young: the squared error is the sum of the squares of what the SVD leaves out."""
    model = random_classifier("bert")
    matrix = word_table(model).weight.detach().numpy().copy()
    factorize_embeddings(model, rank)
    first, second = (factor.weight.detach().numpy() for factor in model.get_input_embeddings())
    assert first.shape == (90, rank)
    left_out = np.linalg.svd(matrix, compute_uv=False)[rank:]
    error = ((matrix - first @ second.T) ** 2).sum()
    assert error == pytest.approx((left_out**2).sum(), rel=1e-4)


def test_counts_weigh_the_rows() -> None:
    """The weighted error is that of the SVD of the rows times the roots of their counts."""
    counts = np.random.default_rng(0).integers(0, 50, 90)
    model, plain = random_classifier("bert"), random_classifier("bert")
    matrix = word_table(model).weight.detach().numpy().copy()
    factorize_embeddings(model, 4, counts)
    factorize_embeddings(plain, 4)
    errors = []
    for m in (model, plain):
        first, second = (factor.weight.detach().numpy() for factor in m.get_input_embeddings())
        errors.append((counts[:, None] * (matrix - first @ second.T) ** 2).sum())
    left_out = np.linalg.svd(np.sqrt(counts)[:, None] * matrix, compute_uv=False)[4:]
    assert errors[0] == pytest.approx((left_out**2).sum(), rel=1e-4)
    assert errors[0] < errors[1]


def round_rows(matrix: np.ndarray, steps: int) -> np.ndarray:
    """Each row rounded to so many equal steps between its smallest and its largest value."""
    low, high = matrix.min(1, keepdims=True), matrix.max(1, keepdims=True)
    width = (high - low) / steps
    return low + np.round((matrix - low) / width) * width


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_the_first_factor_can_be_rounded(bits: int) -> None:
    """A strong direction, as real words have it, would set the step of a row of the plain SVD."""
    model = random_classifier("bert", hidden_size=80)
    with torch.no_grad():
        word_table(model).weight[:, 0] *= 20
    matrix = word_table(model).weight.detach().numpy().copy()
    factorize_embeddings(model, 64)
    first, second = (factor.weight.detach().numpy() for factor in model.get_input_embeddings())
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    plain_first = u[:, :64] * s[:64]
    product = plain_first @ vt[:64]
    np.testing.assert_allclose(first @ second.T, product, atol=1e-4)
    steps = 2**bits - 1
    plain = ((round_rows(plain_first, steps) @ vt[:64] - product) ** 2).sum()
    rotated = ((round_rows(first, steps) @ second.T - product) ** 2).sum()
    assert rotated < 0.8 * plain


def test_ranks_that_do_not_fit_say_so() -> None:
    model = random_classifier("electra")
    with pytest.raises(ValueError, match=r"embedding_rank must be in \[1, 7\] .*got 8"):
        factorize_embeddings(model, 8)
    factorize_embeddings(model, 7)
    with pytest.raises(ValueError, match="factorised already"):
        factorize_embeddings(model, 3)


def test_tied_output_embeddings_follow() -> None:
    torch.manual_seed(0)
    full = BertForMaskedLM(BertConfig(**NARROW, vocab_size=90)).eval()
    torch.nn.init.normal_(full.cls.predictions.bias)
    kept = np.array([0, 1, 2, 5, 8, 13, 21, 34, 55, 89])
    expected = logits(full, torch.from_numpy(kept)[None])[..., kept]
    trim_embeddings(full, kept)
    assert full.get_output_embeddings().weight is full.get_input_embeddings().weight
    torch.testing.assert_close(logits(full, torch.arange(10)[None]), expected, rtol=0, atol=1e-6)


def test_a_factorised_model_can_be_trimmed(tmp_path: Path) -> None:
    model = random_classifier("distilbert")
    factorize_embeddings(model, 6)
    kept = np.array([0, 1, *range(2, 90, 2)])
    expected = logits(model, torch.from_numpy(kept[:20])[None])
    trim_embeddings(model, kept)
    model.save_pretrained(tmp_path)
    got = logits(load_classifier(tmp_path), torch.arange(20)[None])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "roberta", "mpnet"])
@pytest.mark.parametrize("pad", [1, 40])
def test_a_padding_id_that_moves(family: str, pad: int, tmp_path: Path) -> None:
    """RoBERTa counts positions from the padding's id, MPNet from 1 whatever the configuration."""
    model = random_classifier(family, pad)
    kept = np.array([0, 1, 7, 20, pad, 50, 60, 70]) if pad > 1 else np.array([0, 1, 7, 20, 50])
    ids = torch.from_numpy(np.append(kept[kept != pad], [pad, pad]))[None]
    expected = logits(model, ids)
    trim_embeddings(model, kept)
    new_ids = torch.searchsorted(torch.from_numpy(kept), ids)
    assert model.config.pad_token_id == kept.tolist().index(pad)
    torch.testing.assert_close(logits(model, new_ids), expected, rtol=0, atol=1e-6)
    model.save_pretrained(tmp_path)
    got = logits(load_classifier(tmp_path), new_ids)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_ids_that_have_no_row_say_so() -> None:
    model = random_classifier("bert")
    with pytest.raises(ValueError, match=r"has an id 90, but the model has only 90 word"):
        trim_embeddings(model, np.array([0, 1, 90]))
    with pytest.raises(
        ValueError, match=r"pad_token_id \d+ of the model's config.json is no special"
    ):
        trim_embeddings(model, np.array([2, 3]))
