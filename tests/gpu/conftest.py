"""The tests that need a GPU: `make gpu`.

These tests have never run on a GPU, because none was at hand when they were written. They are
written to run as they are on a machine that has one; until somebody has run them, a failure may be
the test's own.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from lmopt.data.batches import Examples
from lmopt.data.tokens import tokenize
from lmopt.models.loading import load_tokenizer
from tests.conftest import TOPICS


@pytest.fixture(autouse=True)
def _on_a_gpu() -> None:
    """Skip the test, loudly, where torch sees no GPU."""
    if not torch.cuda.is_available():
        pytest.skip("NO GPU HERE, NOTHING TESTED ON ONE: torch.cuda.is_available() is False")


@pytest.fixture(scope="session")
def examples(classifier_folder: Path, texts: list[tuple[str, str, str]]) -> Examples:
    """The Russian texts with their topics."""
    topics = sorted(TOPICS)
    tokens = tokenize(load_tokenizer(classifier_folder), [text for text, _, _ in texts], 32)
    return Examples(tokens, np.asarray([topics.index(topic) for _, topic, _ in texts]))
