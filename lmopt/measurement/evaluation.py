"""Evaluate an artifact inside the measuring process: logits of whole splits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lmopt.data.tokens import Tokens, concatenate, load_tokens, pad
from lmopt.measurement.measure import Floats
from lmopt.runtimes.base import Session
from lmopt.runtimes.manifest import read_manifest
from lmopt.runtimes.sessions import open_session

BATCH_SIZE = 64


def predict(
    session: Session, tokens: Tokens, pad_id: int, report: Callable[[float], None]
) -> Floats:
    """Logits (n, classes) of all texts, in batches of similar length."""
    order = np.argsort(tokens.lengths, kind="stable")
    parts = []
    for start in range(0, len(order), BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        parts.append(session(*pad([tokens[i] for i in chosen], pad_id)))
        report((start + len(chosen)) / len(order))
    logits = np.empty((len(order), parts[0].shape[1]), np.float32)
    logits[order] = np.concatenate(parts)
    return logits


def evaluate_spec(spec: dict[str, Any], report: Callable[[float], None]) -> dict[str, Any]:
    artifact = Path(spec["artifact"])
    session = open_session(artifact, spec["threads"], spec["device"])
    tokens = load_tokens(Path(spec["tokens"]))
    splits = [tokens[name] for name in spec["splits"]]
    together = concatenate(splits)  # One pass: fewer half-filled batches.
    logits = predict(session, together, read_manifest(artifact).pad_id, report)
    ends = np.cumsum([len(split) for split in splits])
    return dict(zip(spec["splits"], np.split(logits, ends[:-1]), strict=True))
