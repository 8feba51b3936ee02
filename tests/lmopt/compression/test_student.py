import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    RobertaConfig,
)

from lmopt.compression.student import build_student, drop_layers
from lmopt.models.loading import check_length, encoder_layers, load_classifier, load_tokenizer

NARROW: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SMALL = {"vocab_size": 50, "num_labels": 3, "max_position_embeddings": 40, "pad_token_id": 1}
FAMILIES = {
    "distilbert": DistilBertConfig(**SMALL, dim=16, n_layers=4, n_heads=2, hidden_dim=32),
    "roberta": RobertaConfig(**SMALL, **NARROW),
    "mpnet": MPNetConfig(**SMALL, **NARROW),
    "electra": ElectraConfig(**SMALL, **NARROW, embedding_size=8),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_dropped_layers_act_as_identities_and_the_model_reloads(
    family: str, tmp_path: Path
) -> None:
    """Dropping layers 0 and 2 equals the full model in which these two return their input."""
    torch.manual_seed(0)
    full = AutoModelForSequenceClassification.from_config(FAMILIES[family]).eval()
    full.save_pretrained(tmp_path / "full")
    dropped = load_classifier(tmp_path / "full")
    drop_layers(dropped, [1, 3])
    dropped.save_pretrained(tmp_path / "dropped")
    reloaded = load_classifier(tmp_path / "dropped").eval()
    assert len(encoder_layers(reloaded)) == 2

    class Identity(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            output = self.layer(hidden, *args, **kwargs)
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    layers = encoder_layers(full)
    for i in (0, 2):
        layers[i] = Identity(layers[i])
    ids = torch.randint(2, 50, (3, 12), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, got = full(ids).logits, reloaded(ids).logits
    torch.testing.assert_close(got, expected)


def test_albert_runs_its_one_layer_less_often(tmp_path: Path) -> None:
    """Two of four layers: what the full model's head says of its second hidden state."""
    torch.manual_seed(0)
    config = AlbertConfig(**SMALL, **NARROW, embedding_size=8)
    full = AutoModelForSequenceClassification.from_config(config).eval()
    full.save_pretrained(tmp_path / "full")
    dropped = load_classifier(tmp_path / "full")
    drop_layers(dropped, [0, 1])
    dropped.save_pretrained(tmp_path / "dropped")
    reloaded = load_classifier(tmp_path / "dropped").eval()
    ids = torch.randint(2, 50, (3, 12), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        hidden = full(ids, output_hidden_states=True).hidden_states[2]
        albert = full.albert
        expected = full.classifier(albert.pooler_activation(albert.pooler(hidden[:, 0])))
        torch.testing.assert_close(reloaded(ids).logits, expected)
    assert len(encoder_layers(reloaded)) == 1
    several = AutoModelForSequenceClassification.from_config(
        AlbertConfig(**SMALL, **NARROW, embedding_size=8, num_hidden_groups=2)
    )
    with pytest.raises(ValueError, match="share 2 groups of weights cannot be dropped"):
        drop_layers(several, [0, 1])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pad", [1, 3])
def test_the_longest_text_is_just_not_too_long(family: str, pad: int, tmp_path: Path) -> None:
    config = copy.deepcopy(FAMILIES[family])
    config.pad_token_id = pad
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(tmp_path)
    lengths = range(30, 45)
    allowed = [
        length for length in lengths if not raises(lambda n=length: check_length(tmp_path, n))
    ]
    ids = torch.full((1, 45), 7)
    with torch.inference_mode():
        possible = [n for n in lengths if not raises(lambda n=n: model(ids[:, :n]))]
    assert allowed == possible
    assert 35 < len(allowed) + 30 < 42


def raises(call: Callable[[], Any]) -> bool:
    try:
        call()
    except (ValueError, IndexError, RuntimeError):
        return True
    return False


def test_a_model_without_a_stack_of_layers_is_refused(classifier_folder: Path) -> None:
    model = load_classifier(classifier_folder)
    model.config.num_hidden_layers = 99
    with pytest.raises(ValueError, match="no stack of 99 encoder layers in this bert model"):
        drop_layers(model, [0])


def test_a_checkpoint_gets_a_new_head_drawn_by_seed(student_folder: Path, tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    for folder, seed in (("one", 0), ("two", 0), ("three", 1)):
        build_student(student_folder, names, 1, seed, tmp_path / folder)
    one, two, three = (load_classifier(tmp_path / f) for f in ("one", "two", "three"))
    assert one.config.id2label == dict(enumerate(names))
    assert one.config.num_hidden_layers == 1
    assert torch.equal(one.classifier.weight, two.classifier.weight)
    assert not torch.equal(one.classifier.weight, three.classifier.weight)
    assert torch.equal(one.get_input_embeddings().weight, three.get_input_embeddings().weight)
    vocabularies = [load_tokenizer(f).get_vocab() for f in (tmp_path / "one", student_folder)]
    assert vocabularies[0] == vocabularies[1]


def test_unknown_models_and_too_long_texts(student_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can be loaded from") as error:
        load_classifier(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="no such folder or file"):
        load_tokenizer(tmp_path / "nothing")
    check_length(student_folder, 64)
    with pytest.raises(ValueError, match=r"max_length must be at most 64 .*got 65"):
        check_length(student_folder, 65)
