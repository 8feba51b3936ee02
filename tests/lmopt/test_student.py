from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    DistilBertConfig,
    ElectraConfig,
    RobertaConfig,
)

from lmopt.student import (
    build_student,
    check_length,
    drop_layers,
    encoder_layers,
    load_classifier,
    load_tokenizer,
)

SMALL = {"vocab_size": 50, "num_labels": 3, "max_position_embeddings": 40, "pad_token_id": 1}
FAMILIES = {
    "distilbert": DistilBertConfig(**SMALL, dim=16, n_layers=4, n_heads=2, hidden_dim=32),
    "roberta": RobertaConfig(
        **SMALL, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32
    ),
    "electra": ElectraConfig(
        **SMALL,
        hidden_size=16,
        embedding_size=8,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
    ),
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
        def forward(self, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            return hidden

    layers = encoder_layers(full)
    for i in (0, 2):
        layers[i] = Identity()
    ids = torch.randint(2, 50, (3, 12), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, got = full(ids).logits, reloaded(ids).logits
    torch.testing.assert_close(got, expected)


def test_a_model_without_a_stack_of_layers_is_refused(classifier_folder: Path) -> None:
    model = load_classifier(classifier_folder)
    model.config.num_hidden_layers = 99  # As ALBERT, whose layers share one module.
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
