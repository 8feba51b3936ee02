import numpy as np
import pytest
import torch

from lmopt.data.batches import ExampleDataset, Examples, States, join, subset, take
from lmopt.data.tokens import Tokens


def examples_of(texts: list[list[int]], logits: bool = True) -> Examples:
    offsets = np.cumsum([0] + [len(text) for text in texts])
    tokens = Tokens(np.concatenate(texts).astype(np.int32), offsets)
    first = np.asarray([text[0] for text in texts])
    return Examples(tokens, first, first[:, None].astype(np.float32) if logits else None)


def contents(examples: Examples) -> list[list[int]]:
    return [examples.tokens[i].tolist() for i in range(len(examples.tokens))]


def test_taking_and_joining_keeps_text_label_and_logits_together() -> None:
    many = examples_of([[i] * (1 + i % 3) for i in range(50)])
    few = take(many, 10, seed=3)
    assert few.labels.tolist() == subset(50, 10, 3).tolist()
    both = join(few, examples_of([[100, 101], [102]]))
    assert len(both.tokens) == len(both.labels) == 12
    assert both.teacher_logits is not None
    for text, label, logits in zip(contents(both), both.labels, both.teacher_logits, strict=True):
        assert text[0] == label == logits[0]
    assert contents(take(many, None, 0)) == contents(many)
    assert contents(take(many, 99, 0)) == contents(many)


def test_logits_are_there_for_all_or_none() -> None:
    bare = examples_of([[1], [2]], logits=False)
    assert join(bare, bare).teacher_logits is None
    with pytest.raises(ValueError, match="must both have the teacher's logits"):
        join(bare, examples_of([[1]]))


def test_token_dropout_leaves_out_the_share_it_says_and_never_the_ends() -> None:
    torch.manual_seed(0)
    ids = np.arange(1000, dtype=np.int32)
    examples = Examples(Tokens(ids, np.array([0, 1000])), np.array([0]))
    dataset = ExampleDataset(examples, np.array([0]), token_dropout=0.3)
    first, second = dataset[0]["input_ids"], dataset[0]["input_ids"]
    assert 650 < len(first) < 750
    assert (np.diff(first) > 0).all()  # The order stays.
    assert (first[0], first[-1]) == (0, 999)
    assert not np.array_equal(first[:50], second[:50])
    assert len(ExampleDataset(examples, np.array([0]))[0]["input_ids"]) == 1000


def test_a_token_that_is_left_out_takes_its_states_with_it() -> None:
    ids = np.arange(40, dtype=np.int32)
    states = States(np.arange(40, dtype=np.int16).reshape(40, 1, 1), np.array([0, 10]))
    examples = Examples(Tokens(ids, np.array([0, 10, 40])), np.array([0, 0]), states=states)
    example = ExampleDataset(examples, np.array([1]), token_dropout=0.3)[0]
    assert len(example["input_ids"]) < 30
    np.testing.assert_array_equal(example["states"][:, 0, 0], example["input_ids"])
