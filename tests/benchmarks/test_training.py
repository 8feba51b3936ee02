"""The bare loop does the same work as lmopt's; its ratio is a number, no time is asserted."""

import copy
import math

import torch

from benchmarks.training import (
    Shape,
    make_examples,
    make_model,
    training_ratio,
    with_bare_loop,
    with_lmopt,
)

SMALL = Shape(hidden=32, heads=2, ffn=64, vocabulary=500, batch_size=8, steps=6)


def test_both_loops_end_with_the_same_weights() -> None:
    model, examples = make_model(SMALL), make_examples(SMALL)
    trained = [copy.deepcopy(model) for _ in range(2)]
    for train, one in zip((with_lmopt, with_bare_loop), trained, strict=True):
        train(one, examples, SMALL)
    ours, theirs, before = (m.state_dict() for m in (*trained, model))
    for name, weights in ours.items():
        assert torch.equal(weights, theirs[name]), name
    assert not torch.equal(ours["classifier.weight"], before["classifier.weight"])


def test_the_ratio_has_an_interval() -> None:
    ratio = training_ratio(SMALL, rounds=2)
    assert 0 < ratio.low <= ratio.value <= ratio.high < math.inf
