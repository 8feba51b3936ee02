"""The linear model: TF-IDF with logistic regression, so that nobody fools themselves."""

import io
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmopt.pipeline import Prepared


class Linear(NamedTuple):
    """Predicted classes (n,) of "validation" and "test", and the bytes of the saved model."""

    predictions: dict[str, npt.NDArray[np.int64]]
    size_bytes: int


def linear_baseline(prepared: Prepared) -> Linear:
    """Train on the training split's texts and predict the other two."""
    import joblib
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train = prepared.data.splits["train"]
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10.0, max_iter=1000)
    )
    model.fit(train.texts, train.labels)
    saved = io.BytesIO()
    joblib.dump(model, saved)
    splits = {name: prepared.data.splits[name] for name in ("validation", "test")}
    predictions = {name: model.predict(split.texts) for name, split in splits.items()}
    return Linear(predictions, len(saved.getvalue()))
