"""Mixed precision: the matrices that lose most by few bits are kept at 8.

Source: the idea of HAWQ (Dong et al., 2019), bits where they matter.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmopt.config.base import Config
from lmopt.methods.base import Claim, Context, Method, setting
from lmopt.stages.cache import Stage

if TYPE_CHECKING:
    from lmopt.methods.recipe import Recipe

VERSION = 1


class Fields(Config):
    """Recipe fields of mixed precision."""

    mixed_share: float = setting(
        0,
        ge=0,
        lt=1,
        unit="share",
        description="Share of the weights, in the most sensitive matrices, kept at 8 bits.",
    )


def _idle(recipe: "Recipe") -> set[str]:
    narrowest = min(recipe.bits, recipe.embedding_bits or recipe.bits)
    off = recipe.clusters is not None or recipe.bits >= 16 or narrowest >= 8
    return {"mixed_share"} if off else set()


def storage_of(context: Context, recipe: "Recipe", model: Stage, tokens: Stage) -> dict[str, Any]:
    """Return the recipe's storage with the names of the matrices that are kept at 8 bits."""
    storage = dict(context.storage)
    if recipe.mixed_share == 0:
        return storage

    from lmopt.compression.mixed_precision import find_sensitive, read_sensitive

    def build(folder: Path, _: Path) -> None:
        from lmopt.training.calibration import calibration_texts

        batches = calibration_texts(tokens, model.path)
        find_sensitive(model.path, storage, recipe.mixed_share, batches, folder)

    parameters = {"storage": storage, "share": recipe.mixed_share}
    parents = [model.key, tokens.key]
    stage = context.walk.stage("sensitivity", build, VERSION, parameters, parents)
    return storage | {"sensitive": read_sensitive(stage.path)}


METHOD = Method(
    name="mixed_precision",
    title="quantization",
    fields=Fields,
    switches=("mixed_share",),
    phase="store",
    idle=_idle,
    setting=lambda recipe: f"mixed {recipe.mixed_share:g}" if recipe.mixed_share else "",
    claim=lambda recipe, zeros: Claim(math.nan, math.nan) if recipe.mixed_share else Claim(),
)
