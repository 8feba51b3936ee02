"""What a linear model does on the same task: TF-IDF with logistic regression.

The line below which a compressed language model is not worth its bytes.
"""

import pickle
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from lmopt.data.dataset import Data


@dataclass(frozen=True)
class LinearOutcome:
    """Predicted classes (n,) of "validation" and "test", bytes of the pickled model, its time."""

    predictions: dict[str, npt.NDArray[np.int64]]
    size_bytes: int
    seconds: float


def linear_baseline(data: Data) -> LinearOutcome:
    """Fit TF-IDF (words) with logistic regression on the training split; seconds, no cache."""
    started = time.monotonic()
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, dtype=np.float32), LogisticRegression(C=5, max_iter=300)
    )
    splits = data.splits
    model.fit(splits["train"].texts, splits["train"].labels)
    predictions = {name: model.predict(splits[name].texts) for name in ("validation", "test")}
    return LinearOutcome(predictions, len(pickle.dumps(model)), time.monotonic() - started)
