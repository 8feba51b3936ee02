from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmopt.compression import structured_pruning as structure
from lmopt.compression.structured_pruning import (
    block_size,
    choose_units,
    prune_structure,
    split_examples,
)
from lmopt.data.batches import Examples
from lmopt.data.tokens import tokenize
from lmopt.models.families.registry import find_units
from lmopt.models.loading import load_classifier, load_tokenizer
from lmopt.models.shape import recorded_shape
from lmopt.training import trainer as training
from lmopt.training.losses import LossFunction
from lmopt.training.trainer import TrainingSettings, predict_logits
from tests.lmopt.small_families import tiny

SETTINGS = TrainingSettings(epochs=1, learning_rate=1e-3, batch_size=16, device="cpu")


@pytest.fixture(scope="module")
def examples(classifier_folder: Path, texts: list[tuple[str, str, str]]) -> Examples:
    topics = sorted({topic for _, topic, _ in texts})
    tokens = tokenize(load_tokenizer(classifier_folder), [text for text, _, _ in texts], 32)
    labels = np.asarray([topics.index(topic) for _, topic, _ in texts])
    return Examples(tokens, labels, 4 * np.eye(3, dtype=np.float32)[labels])


def run(model: Path, examples: Examples, folder: Path, **changes: Any) -> Any:
    """Prune into a folder of that name, and load what came out."""
    options: dict[str, Any] = {
        "settings": SETTINGS,
        "ffn_keep": 0.5,
        "heads_keep": 0.5,
        "criterion": "taylor",
        "scope": "global",
        "temperature": 2.0,
        "alpha": 0.5,
        "folder": folder,
        "scratch": folder.with_name(f"{folder.name}.scratch"),
    }
    prune_structure(model, examples, **options | changes)
    return load_classifier(folder)


def counts(model: Any, kind: Any) -> list[int]:
    return [units.count for units in find_units(model, kind)]


def test_the_best_units_stay_wherever_they_are() -> None:
    scores = [torch.tensor([5.0, 1.0, 9.0, 2.0]), torch.tensor([0.1, 0.4, 0.2, 0.3])]
    assert [m.tolist() for m in choose_units(scores, 0.5, 1, "global")] == [
        [1, 0, 1, 1],
        [0, 1, 0, 0],  # At least one.
    ]
    assert [m.tolist() for m in choose_units(scores, 0.5, 1, "layer")] == [
        [1, 0, 1, 0],
        [0, 1, 0, 1],
    ]


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("keep", [0.01, 0.25, 0.6, 1.0])
def test_the_share_is_kept_in_whole_blocks(keep: float, scope: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = [torch.rand(64, generator=generator) * scale for scale in (1, 10, 0.1)]
    masks = choose_units(scores, keep, 8, scope)
    kept = [int(mask.sum()) for mask in masks]
    assert all(count % 8 == 0 and count >= 8 for count in kept)
    blocks = round(keep * 24) if scope == "global" else 3 * round(keep * 8)
    assert sum(kept) == 8 * max(3, blocks)
    for mask, score in zip(masks, scores, strict=True):
        left = score[mask == 0]
        assert score[mask == 1].min() > (left.max() if len(left) else -1)


def test_equal_scores_are_settled_the_same_way_each_time() -> None:
    scores = [torch.zeros(8), torch.zeros(8)]
    first, again = (choose_units(scores, 0.5, 2, "global") for _ in range(2))
    assert sum(int(mask.sum()) for mask in first) == 8
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_blocks_divide_the_widths() -> None:
    assert block_size(find_units(tiny("bert"), "ffn")) == 8  # Of 24 and 16.
    wide = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96}
    assert block_size(find_units(tiny("bert", **wide), "ffn")) == 48
    tiny2 = {"hidden_size": 312, "num_attention_heads": 12, "intermediate_size": 600}
    assert block_size(find_units(tiny("bert", **tiny2), "ffn")) == 24
    assert block_size(find_units(tiny("bert"), "heads")) == 1


@pytest.mark.parametrize("epochs", [0.0, 1.0])
@pytest.mark.parametrize("criterion", ["taylor", "magnitude"])
def test_the_saved_model_has_the_share_asked_for(
    epochs: float, criterion: Any, classifier_folder: Path, examples: Examples, tmp_path: Path
) -> None:
    """Hidden 64, four layers of FFN 128 and four heads."""
    settings = replace(SETTINGS, epochs=epochs)
    model = run(classifier_folder, examples, tmp_path / "a", settings=settings, criterion=criterion)
    assert sum(counts(model, "ffn")) == 0.5 * 4 * 128
    assert sum(counts(model, "heads")) == 0.5 * 4 * 4
    assert min(counts(model, "heads")) >= 1
    assert not any("unit_" in name or "schedule" in name for name in model.state_dict())
    assert load_tokenizer(tmp_path / "a").get_vocab()


def test_one_kind_alone_by_layer(
    classifier_folder: Path, examples: Examples, tmp_path: Path
) -> None:
    model = run(classifier_folder, examples, tmp_path / "a", heads_keep=1.0, scope="layer")
    assert counts(model, "ffn") == [64] * 4
    assert model.config.intermediate_size == 64
    assert recorded_shape(model.config) == {}
    model = run(tmp_path / "a", examples, tmp_path / "b", ffn_keep=1.0, scope="layer")
    assert recorded_shape(model.config) == {"heads": [2] * 4}
    assert counts(model, "ffn") == [64] * 4


def test_what_matters_is_kept(classifier_folder: Path, examples: Examples, tmp_path: Path) -> None:
    """Half of the neurons of a layer get no output: they go, and nothing changes."""
    model = load_classifier(classifier_folder)
    units = find_units(model, "ffn")
    dead = torch.randperm(128, generator=torch.Generator().manual_seed(0))[:64]
    with torch.no_grad():
        for layer in units:
            layer.output.weight[:, dead] = 0
    model.save_pretrained(tmp_path / "dense")
    load_tokenizer(classifier_folder).save_pretrained(tmp_path / "dense")
    small = run(
        tmp_path / "dense",
        examples,
        tmp_path / "small",
        settings=replace(SETTINGS, epochs=0),
        heads_keep=1.0,
    )
    assert counts(small, "ffn") == [64] * 4
    expected = predict_logits(model, examples.tokens, device="cpu")
    found = predict_logits(small, examples.tokens, device="cpu")
    np.testing.assert_allclose(found, expected, atol=0.02)  # bf16 where the processor has it.


def test_every_example_is_seen_once_an_epoch(examples: Examples) -> None:
    parts = split_examples(examples, replace(SETTINGS, train_examples=101))
    sizes = [len(part.labels) for part in parts]
    assert sizes == [50, 51]
    texts = {bytes(part.tokens[i]) for part in parts for i in range(len(part.labels))}
    assert len(texts) == 101
    whole = {bytes(t): (y, z) for t, y, z in zip(
        (examples.tokens[i] for i in range(len(examples.labels))),
        examples.labels, examples.teacher_logits, strict=True)}  # fmt: skip
    for part in parts:
        assert part.teacher_logits is not None
        for i, label in enumerate(part.labels):
            assert whole[bytes(part.tokens[i])][0] == label
            assert (whole[bytes(part.tokens[i])][1] == part.teacher_logits[i]).all()


@pytest.mark.parametrize("losses_before", [7, 15])
def test_an_interrupted_run_comes_to_the_same_model(
    losses_before: int,
    classifier_folder: Path,
    examples: Examples,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """12 steps narrow it, 12 recover it; it stops in the middle of either."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    whole = run(classifier_folder, examples, tmp_path / "whole")
    monkeypatch.setattr(structure, "distillation_loss", stopping(losses_before))
    with pytest.raises(KeyboardInterrupt):
        run(classifier_folder, examples, tmp_path / "stopped")
    monkeypatch.undo()
    monkeypatch.setattr(structure, "distillation_loss", stopping(24 - losses_before + 1))
    resumed = run(classifier_folder, examples, tmp_path / "stopped")
    assert recorded_shape(resumed.config) == recorded_shape(whole.config) != {}
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=1e-6)


def stopping(losses: int) -> Callable[[float, float], LossFunction]:
    """In place of `distillation_loss`: after so many losses comes Ctrl-C."""
    made = structure.distillation_loss

    def make(temperature: float, alpha: float) -> LossFunction:
        loss, left = made(temperature, alpha), losses

        def count(*arguments: Any) -> torch.Tensor:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return loss(*arguments)

        return count

    return make


def test_progress_goes_from_nothing_to_all(
    classifier_folder: Path,
    examples: Examples,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[float] = []

    def train(*_: Any, progress: Any, after_step: Any = None, **__: Any) -> None:
        for share in (0.0, 1.0):
            progress("structure", share)
        for _step in range(12 if after_step else 0):
            after_step()

    monkeypatch.setattr(structure, "train_classifier", train)
    run(
        classifier_folder,
        examples,
        tmp_path / "a",
        criterion="magnitude",
        progress=lambda stage, share: seen.append(share),
    )
    assert seen == [0.0, 0.5, 0.5, 1.0]
