"""Tasks and models at the edge, through the whole pipeline."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AlbertConfig, AlbertForMaskedLM, AlbertTokenizer

from lmopt.compression.vocabulary import trim_vocabulary
from lmopt.config.models import StudentConfig, TeacherConfig
from lmopt.config.task import TaskConfig
from lmopt.data.tokens import load_tokens, tokenize
from lmopt.measurement.evaluation import predict
from lmopt.methods.recipe import Recipe
from lmopt.models.embeddings import factorize_embeddings
from lmopt.models.loading import load_classifier, load_tokenizer, save_model
from lmopt.pipeline.prepare import Prepared, prepare
from lmopt.pipeline.trial import run_recipe
from lmopt.runtimes.config import RuntimeConfig
from lmopt.runtimes.manifest import read_manifest
from lmopt.runtimes.openvino.artifact import build_artifact
from lmopt.runtimes.sessions import open_session
from lmopt.training.trainer import predict_logits

RUNTIME = RuntimeConfig(rounds_b1=3, rounds_b32=3)


def prepare_task(csv_file: Path, teacher: Path, cache: Path, columns: dict[str, str]) -> Prepared:
    task = TaskConfig(dataset=str(csv_file), max_length=24, **columns)  # type: ignore[arg-type]
    config = TeacherConfig(model=str(teacher), epochs=4, learning_rate=3e-3, batch_size=16)
    return prepare(task, config, StudentConfig(), RUNTIME, cache=cache, threads=1)


def weight_bytes(artifact: Path) -> int:
    """The model's bytes without its graph, which is most of so tiny a model."""
    return (artifact / "model.bin").stat().st_size


@pytest.fixture(scope="module")
def albert_folder(texts: list[tuple[str, str, str]], tmp_path_factory: Any) -> Path:
    """Its four layers share one layer's weights, and its embeddings are narrower than these."""
    folder: Path = tmp_path_factory.mktemp("albert")
    tokenizer = AlbertTokenizer().train_new_from_iterator([text for text, _, _ in texts], 300)
    torch.manual_seed(0)
    config = AlbertConfig(
        vocab_size=len(tokenizer),
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        classifier_dropout_prob=0,
        initializer_range=0.1,
    )
    save_model(AlbertForMaskedLM(config), tokenizer, folder)
    return folder


def test_albert_through_every_pass(csv_file: Path, albert_folder: Path, tmp_path: Path) -> None:
    columns = {"text_column": "body", "label_column": "topic", "group_column": "document"}
    prepared = prepare_task(csv_file, albert_folder, tmp_path, columns)
    untrained = run_recipe(prepared, Recipe(layers=2), cache=tmp_path, threads=1)
    # Weights that all layers share are stored once.
    assert untrained.parameters == read_manifest(prepared.baseline).parameters
    for artifact in (prepared.baseline, untrained.artifact):
        assert weight_bytes(artifact) == pytest.approx(4 * untrained.parameters, rel=0.05)
    training = {"epochs": 10, "learning_rate": 5e-3, "batch_size": 8}
    recipe = Recipe(layers=2, sparsity=0.5, recovery_epochs=1, bits=8, **training)
    outcome = run_recipe(prepared, recipe, cache=tmp_path, threads=1)
    assert 0.2 < outcome.sparsity < 0.5
    assert weight_bytes(outcome.artifact) < 1.4 * untrained.parameters  # Scales, and fp32 biases.
    right = outcome.logits["test"].argmax(1) == prepared.labels["test"]
    assert right.mean() > 0.8


def test_150_classes_and_odd_texts(teacher_folder: Path, tmp_path: Path) -> None:
    """Too long for the model, all unknown, a single letter, one of the tokenizer's own words."""
    rows = [("text", "label")]
    odd = ["вчера " * 200, "☃ ♞ 漢字", "а", "[MASK] [SEP]", "\u200b\u00ad день"]
    for label in range(150):
        rows += [(f"люди {label} город {i} {odd[i % 5]}", f"class {label}") for i in range(4)]
    with (tmp_path / "many.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    prepared = prepare_task(tmp_path / "many.csv", teacher_folder, tmp_path / "cache", {})
    assert len(prepared.label_names) == 150
    assert load_tokens(prepared.tokens.path / "tokens.npz")["train"].lengths.max() == 24
    recipe = Recipe(layers=1, epochs=1, learning_rate=1e-3, sparsity=0.3, bits=4)
    outcome = run_recipe(prepared, recipe, cache=tmp_path / "cache", threads=1)
    for name in ("validation", "test"):
        assert outcome.logits[name].shape == (len(prepared.labels[name]), 150)
        assert np.isfinite(outcome.logits[name]).all()
    assert set(prepared.labels["test"].tolist()) == set(range(150))
    assert read_manifest(outcome.artifact).label_names == tuple(prepared.label_names)


def test_the_artifact_of_a_trimmed_and_factorised_model(
    classifier_folder: Path, texts: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    """Its logits are the torch model's, and its bytes those of fewer parameters."""
    some = [text for text, topic, _ in texts if topic == "спорт"][:40]
    tokens = tokenize(load_tokenizer(classifier_folder), some, 24)
    trim_vocabulary(classifier_folder, tokens, 3, tmp_path / "trimmed")
    model, tokenizer = load_classifier(tmp_path / "trimmed"), load_tokenizer(tmp_path / "trimmed")
    factorize_embeddings(model, 16)
    save_model(model, tokenizer, tmp_path / "factorised")
    tokens = tokenize(tokenizer, some, 24)
    expected = predict_logits(load_classifier(tmp_path / "factorised").float(), tokens)
    sizes = {}
    for name, folder in (("full", classifier_folder), ("small", tmp_path / "factorised")):
        for bits in (32, 8, 4):
            artifact = tmp_path / f"{name}{bits}"
            artifact.mkdir()
            build_artifact(folder, 24, artifact, bits=bits)  # type: ignore[arg-type]
            sizes[name, bits] = weight_bytes(artifact)
    for bits, tolerance in ((32, 0.02), (8, 0.05)):  # torch multiplies in bf16 where it can.
        session = open_session(tmp_path / f"small{bits}", 1)
        got = predict(session, tokens, 0, lambda _: None)
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)
    dense = load_classifier(classifier_folder).num_parameters()
    saved = dense - model.num_parameters()
    assert sizes["full", 32] - sizes["small", 32] == pytest.approx(4 * saved, rel=0.02)
    assert sizes["full", 8] - sizes["small", 8] == pytest.approx(saved, rel=0.1)
    assert sizes["small", 4] < sizes["small", 8] < sizes["small", 32]
