"""Mixed precision: find the matrices that lose most by few bits, and keep them at 8 bits.

The measure is the divergence of the predictions when one matrix alone is rounded.

Source: the idea is HAWQ's (Dong et al., 2019): more bits for sensitive matrices.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch.nn.functional import kl_div
from transformers import PreTrainedModel

from lmopt.models.loading import load_classifier
from lmopt.weights.plan import Plan, matrices, plan_storage
from lmopt.weights.rounding import Format, fake_quantize

VERSION = 1
KEPT_BITS = 8
FILE = "sensitive.json"
Batch = tuple[npt.NDArray[Any], npt.NDArray[Any]]


@torch.inference_mode()
def divergences(model: PreTrainedModel, plan: Plan, batches: Sequence[Batch]) -> dict[str, float]:
    """Return for each matrix below 8 bits the mean KL in nats of all logits if it alone is rounded.

    The mean is over the examples of `batches`.
    """
    model.eval()
    inputs = [(torch.from_numpy(ids), torch.from_numpy(mask)) for ids, mask in batches]

    def predictions() -> torch.Tensor:
        return torch.cat([model(*pair).logits for pair in inputs]).log_softmax(-1)

    exact = predictions()
    found = {}
    for name, module in matrices(model).items():
        stored = plan[name]
        if isinstance(stored, Format) and stored.bits < KEPT_BITS:
            weight = module.weight.detach().clone()
            module.weight.copy_(fake_quantize(weight, stored))
            rounded = predictions()
            module.weight.copy_(weight)
            found[name] = float(kl_div(rounded, exact, reduction="batchmean", log_target=True))
    return found


def most_sensitive(divergence: dict[str, float], sizes: dict[str, int], share: float) -> list[str]:
    """Return the sorted names of the matrices to keep at 8 bits.

    Matrices with the largest divergence per weight are taken first. Together they hold at most
    `share` of the weights of all matrices in `divergence`.
    """
    left = share * sum(sizes[name] for name in divergence)
    kept = []
    for name in sorted(divergence, key=lambda name: divergence[name] / sizes[name], reverse=True):
        if sizes[name] <= left:
            left -= sizes[name]
            kept.append(name)
    return sorted(kept)


def find_sensitive(
    model_folder: Path,
    storage: dict[str, Any],
    share: float,
    batches: Sequence[Batch],
    folder: Path,
) -> None:
    """Write the names of a saved classifier's most sensitive matrices into `folder`."""
    model = load_classifier(model_folder)
    sizes = {name: module.weight.numel() for name, module in matrices(model).items()}
    divergence = divergences(model, plan_storage(model, **storage), batches)
    kept = most_sensitive(divergence, sizes, share)
    (folder / FILE).write_text(json.dumps({"kept": kept, "divergence_nats": divergence}, indent=1))


def read_sensitive(folder: Path) -> tuple[str, ...]:
    """Return the names that `find_sensitive` wrote."""
    return tuple(json.loads((folder / FILE).read_text())["kept"])
