"""What lmopt knows of a family of encoders, and how units are cut out of a layer.

No module of this room imports torch before it has a model: `lmopt check` asks a family what it
cannot do by config.json alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import nn

Kind = Literal["ffn", "heads"]
KINDS: tuple[Kind, ...] = ("heads", "ffn")
HeadReads = Literal["first", "mean", "unknown"]
ModelConfig = Mapping[str, Any]
"""The content of config.json, or `to_dict()` of a loaded configuration."""


@dataclass(frozen=True)
class Units:
    """The FFN neurons or attention heads of one layer.

    Unit i owns an equal share, in this order, of the rows of each of `inputs`, of each vector
    `vectors` of `owner`, and of the columns of `output`: `width` of these.
    """

    inputs: tuple["nn.Linear", ...]
    output: "nn.Linear"
    width: int
    owner: "nn.Module | None" = None
    vectors: tuple[str, ...] = ()
    after: "Callable[[torch.Tensor], None] | None" = None

    @property
    def count(self) -> int:
        """How many units there are."""
        return self.output.in_features // self.width


class Names(NamedTuple):
    """The names under which config.json holds a model's shape."""

    layers: str = "num_hidden_layers"
    hidden_size: str = "hidden_size"
    heads: str = "num_attention_heads"
    ffn: str = "intermediate_size"


class Entry(NamedTuple):
    """An entry of `lmopt_shape` in config.json (see `lmopt.models.shape`).

    `apply` gives a freshly built model what the entry records. `words` name it for a user whose
    libraries cannot read it.
    """

    apply: Callable[[Any, Any], None]
    words: str


def _nothing(config: ModelConfig) -> None:
    return None


def _no_limit(config: ModelConfig, kind: Kind) -> None:
    return None


def _zero(config: ModelConfig) -> int:
    return 0


def _reads_first(config: ModelConfig) -> HeadReads:
    return "first"


def _no_entries(model: Any) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Family:
    """A family of encoders: everything that differs between it and the others.

    The functions that take a model may import torch. Those that take a `ModelConfig` may not, and
    must bear that any key is missing: then they refuse nothing.

    Attributes:
        model_types: The names of the family in config.json (`model_type`).
        layers: The stack of encoder layers of a model. Layers that share their weights (ALBERT)
            are in it once for each group of them.
        units: The neurons or heads of every layer of a model, in the order of `layers`.
        names: Where config.json holds the shape.
        embedding_names: Where config.json holds the length of a word embedding: the first of these
            that is there.
        first_position: The number of a text's first position; the table has as many fewer rows
            for texts.
        head_reads: The last hidden states that the classifier's head reads: of the first token,
            the mean of all tokens, or unknown.
        layer_lists: The lists in config.json that have one entry for each layer; None: every list
            that is as long as the layers are many, a guess.
        no_layers: Why layers of such a model cannot be dropped, None if they can.
        no_units: Why units of one kind cannot be removed, None if they can.
        no_width: Why its hidden states cannot be made narrower, None if they can.
        entries: The entries of `lmopt_shape` that this family alone has.
        layer_entries: Values for `entries` that a model needs after layers were dropped; None
            removes an entry.
    """

    model_types: tuple[str, ...]
    layers: Callable[[Any], "nn.ModuleList"]
    units: Callable[[Any, Kind], list[Units]]
    names: Names = field(default_factory=Names)
    embedding_names: tuple[str, ...] = ("embedding_size", "hidden_size")
    first_position: Callable[[ModelConfig], int] = _zero
    head_reads: Callable[[ModelConfig], HeadReads] = _reads_first
    layer_lists: tuple[str, ...] | None = ()
    no_layers: Callable[[ModelConfig], str | None] = _nothing
    no_units: Callable[[ModelConfig, Kind], str | None] = _no_limit
    no_width: Callable[[ModelConfig], str | None] = _nothing
    entries: Mapping[str, Entry] = field(default_factory=dict)
    layer_entries: Callable[[Any], dict[str, Any]] = _no_entries


def neurons(first: "nn.Linear", second: "nn.Linear") -> Units:
    """The units of a feed-forward network of two matrices: one row and one column each."""
    return Units((first,), second, 1)


def heads(
    attention: Any, inputs: Sequence["nn.Linear"], output: "nn.Linear", **options: Any
) -> Units:
    """The units of an attention module whose matrices have a share for each head.

    Attention modules read the number of heads from their matrices or from an attribute of their
    own, never from the configuration, so layers may differ (transformers 5).
    """
    return Units(tuple(inputs), output, attention.attention_head_size, attention, **options)


def keep_units(units: Units, kept: "torch.Tensor") -> None:
    """Remove all units of a layer but the indices `kept`, in place."""
    count = units.count
    for linear in units.inputs:
        _keep(linear, "weight", 0, count, kept)
        if linear.bias is not None:
            _keep(linear, "bias", 0, count, kept)
        linear.out_features = len(linear.weight)
    if units.owner is not None:
        for name in units.vectors:
            _keep(units.owner, name, 0, count, kept)
        for name, value in (
            ("num_attention_heads", len(kept)),
            ("n_heads", len(kept)),
            ("all_head_size", len(kept) * units.width),
        ):
            if hasattr(units.owner, name):
                setattr(units.owner, name, value)
    _keep(units.output, "weight", 1, count, kept)
    units.output.in_features = units.output.weight.shape[1]
    if units.after is not None:
        units.after(kept)


def _keep(module: "nn.Module", name: str, dim: int, count: int, kept: "torch.Tensor") -> None:
    """Keep the shares of the units `kept` of `count` along `dim` of a parameter."""
    from torch import nn

    old: nn.Parameter = getattr(module, name)
    shares = old.detach().unflatten(dim, (count, -1)).index_select(dim, kept.to(old.device))  # type: ignore[no-untyped-call]
    new = shares.flatten(dim, dim + 1).contiguous()
    setattr(module, name, nn.Parameter(new, requires_grad=old.requires_grad))
