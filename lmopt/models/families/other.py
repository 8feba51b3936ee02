"""Families without a file of their own: what can be found by looking at a model."""

from typing import Any

from lmopt.errors import UserError
from lmopt.models.families.base import Family, HeadReads, Kind, ModelConfig, Units
from lmopt.models.families.bert import offset_position

# Families whose positions begin after the padding's id.
OFFSET_POSITIONS = {"ibert", "longformer", "xmod"}


def _layers(model: Any) -> Any:
    """The one ModuleList of its parent whose length is `num_hidden_layers`.

    Raises:
        ValueError: There is none, or a layer is spread over several such lists (XLM).
    """
    from torch import nn

    count = getattr(model.config, "num_hidden_layers", 0)
    for parent in model.modules():
        lists = [child for child in parent.children() if isinstance(child, nn.ModuleList)]
        stacks = [each for each in lists if len(each) == count]
        if len(stacks) == 1:
            return stacks[0]
        if stacks:
            break
    raise UserError(
        f"no stack of {count} encoder layers in this {model.config.model_type} model: its layers "
        "cannot be dropped or pruned (leave layers and sparsity out)"
    )


def _units(model: Any, kind: Kind) -> list[Units]:
    raise AssertionError("`no_units` refuses both kinds")


def _no_units(config: ModelConfig, kind: Kind) -> str:
    return "lmopt does not know where this family keeps them"


def _no_width(config: ModelConfig) -> str:
    return "lmopt does not know where this family keeps its neurons and heads"


def _first_position(config: ModelConfig) -> int:
    return offset_position(config) if config["model_type"] in OFFSET_POSITIONS else 0


def _head_reads(config: ModelConfig) -> HeadReads:
    return "unknown"


OTHER = Family(
    model_types=(),
    layers=_layers,
    units=_units,
    first_position=_first_position,
    head_reads=_head_reads,
    layer_lists=None,
    no_units=_no_units,
    no_width=_no_width,
)
