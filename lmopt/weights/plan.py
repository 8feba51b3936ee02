"""The storage plan: the format of each matrix, which training and the artifact share."""

from collections.abc import Collection
from typing import NamedTuple

from torch import nn

from lmopt.weights.rounding import Format

MAX_GROUP_SIZE = 64
MIN_GROUP_SIZE = 8  # A 16-bit scale for fewer weights costs more bits than it saves.


class Codebook(NamedTuple):
    """A matrix whose weights share `clusters` values."""

    clusters: int

    @property
    def bits_per_weight(self) -> float:
        """Return the stored bits per weight. OpenVINO has indices of 1, 2, 3, 4, 6 and 8 bits."""
        return float(next(bits for bits in (1, 2, 3, 4, 6, 8) if 2**bits >= self.clusters))


Storage = Format | Codebook
Plan = dict[str, Storage]
"""The storage format of each parameter, by its name."""
HALF = Format(16)


def matrices(model: nn.Module) -> dict[str, nn.Linear | nn.Embedding]:
    """Return the linear and embedding layers of a model by the names of their weights.

    A layer that several places share (ALBERT) appears once.
    """
    kinds = (nn.Linear, nn.Embedding)
    return {f"{name}.weight": m for name, m in model.named_modules() if isinstance(m, kinds)}


def group_size(width: int) -> int:
    """Return the number of weights per scale: the largest divisor of the row's width up to 64.

    It is 64 for BERT's 384 and 1536, and 52 and 60 for rubert-tiny2's 312 and 600. It is -1 (one
    scale per row) if this divisor is below `MIN_GROUP_SIZE`.
    """
    best = max(n for n in range(1, MAX_GROUP_SIZE + 1) if width % n == 0)
    return best if best >= MIN_GROUP_SIZE else -1


def plan_storage(
    model: nn.Module,
    *,
    bits: int,
    number_format: str = "int",
    embedding_bits: int | None = None,
    clusters: int | None = None,
    embedding_clusters: int | None = None,
    sensitive: Collection[str] = (),
) -> Plan:
    """Return the storage format of each matrix.

    Embeddings use `embedding_bits` and `embedding_clusters` if these are given. Matrices named in
    `sensitive` are kept at 8 bits. Rows shorter than `MIN_GROUP_SIZE` stay at 16 bits, because
    their scales would be larger than the rows.
    """
    plan: Plan = {}
    for name, module in matrices(model).items():
        is_embedding = isinstance(module, nn.Embedding)
        width = module.weight.shape[1]
        own_bits = embedding_bits if is_embedding and embedding_bits is not None else bits
        own_clusters = embedding_clusters if is_embedding else None
        if width < MIN_GROUP_SIZE and own_bits < 32:
            plan[name] = HALF
        elif name in sensitive:
            plan[name] = Format(8)
        elif clusters is not None:
            plan[name] = Codebook(own_clusters or clusters)
        elif own_bits >= 8:
            plan[name] = Format(own_bits)
        else:
            kind = number_format if own_bits == 4 else "int"
            plan[name] = Format(own_bits, kind, group_size(width))
    return plan


def planned_bytes(model: nn.Module, plan: Plan) -> int:
    """Return the bytes of the planned matrices and 4 bytes for each other parameter.

    The artifact adds its graph (XML), codebooks and the scales of whole rows.
    """
    stored = {name: module.weight.numel() for name, module in matrices(model).items()}
    bits = sum(plan[name].bits_per_weight * count for name, count in stored.items())
    rest = sum(parameter.numel() for parameter in model.parameters()) - sum(stored.values())
    return round(bits / 8 + 4 * rest)
