from collections import Counter
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from lmopt.models.families.registry import family_of
from lmopt.models.static import StaticClassifier, StaticConfig
from lmopt.runtimes.openvino import artifact as quantize
from lmopt.runtimes.openvino.artifact import convert
from lmopt.runtimes.openvino.first_token import keep_first_token
from tests.lmopt.small_families import OPTIONS, batch, logits, tiny

LEAST = {"deberta": 2, "deberta-v2": 2, "modernbert": 6}  # Their attention is left as it is.


def run(model: Any, inputs: dict[str, torch.Tensor]) -> Any:
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(model, "CPU", options)
    return compiled({name: tensor.numpy() for name, tensor in inputs.items()})[0]


def whole(model: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The converted model in which every layer sees every token."""
    with monkeypatch.context() as patch:
        patch.setattr(quantize, "keep_first_token", lambda _: 0)
        return convert(model)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_logits_of_every_family_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(name)
    expected = logits(model).numpy()
    converted = whole(model, monkeypatch)
    narrowed = keep_first_token(converted)
    reads = family_of(model.config.model_type).head_reads(model.config.to_dict())
    assert narrowed >= LEAST.get(name.split()[0], 12) if reads == "first" else narrowed == 0
    np.testing.assert_allclose(run(converted, batch()), expected, rtol=1e-3, atol=1e-3)


def test_the_last_layer_alone_is_narrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("bert")
    lengths = []
    for converted in (whole(model, monkeypatch), convert(model)):
        converted.reshape({"input_ids": [3, 12], "attention_mask": [3, 12]})
        products = [op for op in converted.get_ordered_ops() if op.get_type_name() == "MatMul"]
        of_three = [op.output(0).shape[1] for op in products if len(op.output(0).shape) == 3]
        lengths.append(Counter(of_three))
    # Of its six products query, output and both of the feed-forward network; keys and values stay.
    assert lengths == [Counter({12: 18}), Counter({12: 14, 1: 4})]


def test_a_token_alone_and_another_length_than_the_example_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny("bert")
    converted = convert(model)
    for length in (1, 2, 31):
        ids = torch.arange(2, 2 + length).unsqueeze(0)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        with torch.inference_mode():
            expected = model(**inputs).logits.numpy()
        np.testing.assert_allclose(run(converted, inputs), expected, rtol=1e-3, atol=1e-3)


def test_a_model_that_reads_all_tokens_stays_whole() -> None:
    model = StaticClassifier(StaticConfig(vocab_size=50, width=8, hidden=8, num_labels=3))
    assert keep_first_token(convert(model)) == 0


def test_hidden_states_that_something_else_reads_stay_whole() -> None:
    """The first token is selected, and the mean of all of them is used as well."""

    class Both(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            states = self.model.bert(input_ids, attention_mask).last_hidden_state
            return states[:, 0] + states.mean(dim=1)

    shape = {"hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 24}
    model = BertForSequenceClassification(
        BertConfig(vocab_size=50, num_hidden_layers=1, max_position_embeddings=40, **shape)
    ).eval()
    model.set_attn_implementation("eager")
    inputs = batch()
    with torch.inference_mode():
        expected = Both(model)(**inputs).numpy()
        converted = ov.convert_model(Both(model), example_input=inputs)
    assert keep_first_token(converted) == 0
    np.testing.assert_allclose(run(converted, inputs), expected, rtol=1e-4, atol=1e-4)
