"""Weight clustering (palettization): the weights of a matrix share k values, which are trained.

Source: Han, Mao, Dally (2016), Deep Compression, section 3: k-means on the weights, linear
initialization, then the centroids are fine-tuned with the sum of their weights' gradients.
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

from lmopt.storage import Codebook, Plan, matrices

SAMPLES = 100_000  # Of a matrix's weights, evenly by rank: k-means on more moves no centroid.

Floats = npt.NDArray[np.float32]


def codebook_of(weights: Floats, clusters: int) -> Floats:
    """At most `clusters` sorted centroids of the weights (any shape), by k-means."""
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
    """Where many centroids of a density p lie best: as dense as p^(1/3). Lloyd's steps do the rest.

    Source: Gersho and Gray (1992), Vector Quantization and Signal Compression, section 5.6.
    """
    counts, edges = np.histogram(values, bins=1024)
    ranks = np.concatenate([[0], np.cumsum(np.cbrt(counts))])
    shares = (np.arange(clusters) + 0.5) / clusters
    return np.asarray(np.interp(shares * ranks[-1], ranks, edges))


def nearest(weights: Floats, codebook: Floats) -> npt.NDArray[np.uint8]:
    """Index of the nearest value of the sorted codebook for each weight, in the weights' shape."""
    between = (codebook[1:] + codebook[:-1]) / 2
    return np.searchsorted(between, weights).astype(np.uint8)


class _Lookup(torch.autograd.Function):
    """codebook[indices]; a bincount is ten times faster backwards than torch's own indexing."""

    @staticmethod
    def forward(context: Any, codebook: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(indices)
        context.clusters = len(codebook)
        return codebook[indices]

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> Any:
        (indices,) = context.saved_tensors
        flat = gradient.float().flatten()
        return torch.bincount(indices.flatten(), flat, context.clusters), None


def lookup(codebook: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Weights (any shape) from a codebook (k,) and integer indices of that shape."""
    result: torch.Tensor = _Lookup.apply(codebook, indices)  # type: ignore[no-untyped-call]
    return result


class _Clustered(nn.Module):
    """As a parametrization: the original is the codebook, the value the whole matrix."""

    def __init__(self, indices: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("indices", indices)

    def forward(self, codebook: torch.Tensor) -> torch.Tensor:
        return lookup(codebook, self.indices.int())  # type: ignore[operator]


class _ClusteredEmbedding(nn.Module):
    """An embedding that looks up the rows of a batch alone, not the whole table."""

    def __init__(self, codebook: torch.Tensor, indices: torch.Tensor) -> None:
        super().__init__()
        self.codebook = nn.Parameter(codebook)
        self.register_buffer("indices", indices)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return lookup(self.codebook, self.indices[ids].int())  # type: ignore[index]


@contextmanager
def clustered(model: nn.Module, plan: Plan) -> Iterator[None]:
    """Within: the planned matrices are lookups whose codebooks train. After: plain matrices again.

    Weights on leaving are exactly the codebooks' values in half precision, as they are stored.
    """
    done = []
    for name, matrix in matrices(model).items():
        stored = plan.get(name)
        if isinstance(stored, Codebook):
            done.append(_replace(model, name.removesuffix(".weight"), matrix, stored.clusters))
    try:
        yield
    finally:
        for parent, attribute, module in done:
            _restore(parent, attribute, module)


def _replace(
    model: nn.Module, path: str, module: nn.Linear | nn.Embedding, clusters: int
) -> tuple[nn.Module, str, nn.Module]:
    parent_path, _, attribute = path.rpartition(".")
    parent = model.get_submodule(parent_path)
    weights = module.weight.detach().numpy()
    codebook = codebook_of(weights, clusters)
    indices = torch.from_numpy(nearest(weights, codebook))
    if isinstance(module, nn.Embedding):
        setattr(parent, attribute, _ClusteredEmbedding(torch.from_numpy(codebook), indices))
    else:
        with torch.no_grad():
            module.weight = nn.Parameter(torch.from_numpy(codebook))
        parametrize.register_parametrization(module, "weight", _Clustered(indices), unsafe=True)
    return parent, attribute, module


@torch.no_grad()
def _restore(parent: nn.Module, attribute: str, module: nn.Module) -> None:
    if isinstance(module, nn.Embedding):
        inside: Any = getattr(parent, attribute)
        module.weight = nn.Parameter(_table(inside.codebook, inside.indices))
        setattr(parent, attribute, module)
        return
    inside = module.parametrizations.weight  # type: ignore[union-attr]
    table = _table(inside.original, inside[0].indices)
    parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
    module.weight = nn.Parameter(table)


def _table(codebook: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """The matrix in the half precision in which its values are stored."""
    return codebook.half().float()[indices.int()]
