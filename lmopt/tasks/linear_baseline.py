"""The cheapest baseline of classification: TF-IDF with logistic regression.

A compressed language model that does no better is not worth its bytes.
"""

import pickle
import time

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from lmopt.data.dataset import Data
from lmopt.tasks.base import Baseline

LinearOutcome = Baseline


def linear_baseline(data: Data) -> Baseline:
    """Fit TF-IDF (words) with logistic regression on the training split; seconds, no cache.

    The outputs (n, classes) are 1 for the predicted class and 0 for the others.
    """
    started = time.monotonic()
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, dtype=np.float32), LogisticRegression(C=5, max_iter=300)
    )
    splits = data.splits
    model.fit(splits["train"].texts, splits["train"].labels)
    one_hot = np.eye(len(data.label_names), dtype=np.float32)
    outputs = {name: one_hot[model.predict(splits[name].texts)] for name in ("validation", "test")}
    return Baseline(outputs, len(pickle.dumps(model)), time.monotonic() - started)
