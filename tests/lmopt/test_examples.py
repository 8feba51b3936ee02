import numpy as np
import pytest

from lmopt.data import Tokens
from lmopt.examples import Examples, join, subset, take


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
