"""Weight clustering (palettization): the weights of a matrix share k trained values.

Source: Han, Mao, Dally (2016), Deep Compression, section 3: k-means on the weights, then the
centroids are fine-tuned with the sum of their weights' gradients.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import KMeans
from torch import nn
from torch.nn.utils import parametrize

from lmopt.weights.plan import Codebook, Plan, matrices

_CODEBOOK = "shared_codebook"
# K-means reads this many weights of a matrix, evenly spaced by rank: more move no centroid.
SAMPLES = 100_000
Floats = npt.NDArray[np.float32]


def codebook_of(weights: Floats, clusters: int) -> Floats:
    """Return at most `clusters` sorted k-means centroids of the weights (any shape)."""
    values = np.sort(weights, axis=None)
    if len(values) > SAMPLES:
        values = values[np.linspace(0, len(values) - 1, SAMPLES).astype(int)]
    distinct = np.unique(values)
    if len(distinct) <= clusters:
        return distinct
    start = _optimal_at_high_rate(values, clusters)
    found = KMeans(clusters, init=start[:, None], n_init=1).fit(values[:, None])
    return np.unique(found.cluster_centers_.ravel()).astype(np.float32)


def _optimal_at_high_rate(values: Floats, clusters: int) -> npt.NDArray[np.float64]:
    """Return start centroids whose density is proportional to p^(1/3), p the weights' density.

    This density is optimal for many centroids. Lloyd's steps refine it.

    Source: Gersho and Gray (1992), Vector Quantization and Signal Compression, section 5.6.
    """
    counts, edges = np.histogram(values, bins=1024)
    ranks = np.concatenate([[0], np.cumsum(np.cbrt(counts))])
    shares = (np.arange(clusters) + 0.5) / clusters
    return np.asarray(np.interp(shares * ranks[-1], ranks, edges))


def nearest(weights: Floats, codebook: Floats) -> npt.NDArray[np.uint8]:
    """Return the index of the nearest value of the sorted codebook, in the weights' shape."""
    between = (codebook[1:] + codebook[:-1]) / 2
    return np.searchsorted(between, weights).astype(np.uint8)


class _Share(torch.autograd.Function):
    """Replace each weight by its nearest codebook value.

    A bincount is the fastest way to sum the gradients of a value.
    """

    @staticmethod
    def forward(context: Any, weight: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
        indices = torch.bucketize(weight, (codebook[1:] + codebook[:-1]) / 2)
        context.save_for_backward(indices)
        context.clusters = len(codebook)
        return codebook[indices]

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> Any:
        (indices,) = context.saved_tensors
        sums = torch.bincount(indices.flatten(), gradient.float().flatten(), context.clusters)
        return gradient, sums.to(gradient.dtype)


def share(weight: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Return for each weight (any shape) the nearest value of a sorted codebook (k,).

    The gradient of a value is the sum over its weights. The gradient of the weights passes straight
    through, so that a weight may change its cluster. With fixed clusters, 4 values lose three times
    as much.
    """
    result: torch.Tensor = _Share.apply(weight, codebook)  # type: ignore[no-untyped-call]
    return result


class _Shared(nn.Module):
    """A trained codebook: a parametrization of a linear layer, or a hook of an embedding."""

    def __init__(self, weight: torch.Tensor, clusters: int) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.from_numpy(codebook_of(weight.numpy(), clusters)))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return share(weight, self.codebook.sort().values)

    @torch.no_grad()
    def stored(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the matrix with its codebook in half precision, as an artifact stores it."""
        codebook = self.codebook.sort().values
        indices = nearest(weight.numpy(), codebook.numpy())
        return codebook.half().float()[torch.from_numpy(indices).int()]


@contextmanager
def clustered(model: nn.Module, plan: Plan) -> Iterator[None]:
    """Make forward passes use shared weights inside the context, where codebooks train too.

    At the exit each weight is set to its codebook's value. In an embedding, only the rows of the
    batch are replaced.
    """
    chosen = [
        (module, _Shared(module.weight.detach(), stored.clusters))
        for name, module in matrices(model).items()
        if isinstance(stored := plan.get(name), Codebook)
    ]
    hooks = []
    for module, shared in chosen:
        if isinstance(module, nn.Embedding):
            module.add_module(_CODEBOOK, shared)  # The optimizer finds its parameter here.
            hooks.append(module.register_forward_hook(lambda m, _, rows: m.shared_codebook(rows)))
        else:
            parametrize.register_parametrization(module, "weight", shared, unsafe=True)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, shared in chosen:
            _leave(module, shared)


@torch.no_grad()
def _leave(module: nn.Module, shared: _Shared) -> None:
    if isinstance(module, nn.Embedding):
        delattr(module, _CODEBOOK)
        weight = module.weight
    else:
        inside: Any = module.parametrizations
        weight = inside.weight.original
        parametrize.remove_parametrizations(module, "weight")
    module.weight = nn.Parameter(shared.stored(weight.detach()))
