"""Weight clustering: the weights of a matrix share k values, which are trained."""

import math
from typing import TYPE_CHECKING, Any

from lmopt.config.base import Config
from lmopt.methods.base import Claim, Context, Method, Names, Search, Sentence, Texts, setting
from lmopt.methods.quantization import train_stored
from lmopt.stages.cache import Stage

if TYPE_CHECKING:
    from lmopt.methods.recipe import Recipe


class Fields(Config):
    """Recipe fields of weight clustering."""

    clusters: int | None = setting(
        None,
        ge=2,
        le=256,
        unit="values",
        header="clus",
        description="Values that the weights of a matrix share; None: bits.",
    )
    embedding_clusters: int | None = setting(
        None, ge=2, le=256, unit="values", header="emb clus", description="None: as clusters."
    )


def _apply(context: Context, recipe: "Recipe", model: Stage, texts: Texts) -> Stage:
    return train_stored(context, recipe, model, texts)


def _setting(recipe: "Recipe") -> str:
    if recipe.clusters is None:
        return ""
    own = recipe.embedding_clusters
    return f"{recipe.clusters} clusters" + (f", embedding clusters {own}" if own else "")


def _sentences(recipe: "Recipe", names: Names) -> list[Sentence]:
    if recipe.clusters is None:
        return []
    own = recipe.embedding_clusters
    of = f", those of embeddings {own}" if own else ", embeddings included"
    text = f"Weights of a matrix share {recipe.clusters} values (a codebook){of}."
    return [Sentence(text, frozenset({"clusters", "embedding_clusters", "bits"}))]


def _claim(recipe: "Recipe", zeros: float) -> Claim:
    if recipe.clusters is None:
        return Claim()
    if recipe.embedding_clusters is not None:  # No row says how many weights have which width.
        return Claim(math.nan)
    # The values are looked up and multiplied as before: no faster on paper.
    return Claim(math.log2(recipe.clusters) / 32)


def _reference(untouched: dict[str, Any], search: Search) -> dict[str, Any] | None:
    return {**untouched, "clusters": 16} if "clusters" in search.middle else None


METHOD = Method(
    name="clustering",
    title="clustering",
    fields=Fields,
    switches=("clusters",),
    apply=_apply,
    phase="store",
    idle=lambda recipe: {"embedding_clusters"} if recipe.clusters is None else set(),
    storage=lambda recipe: recipe.model_dump(include={"clusters", "embedding_clusters"}),
    setting=_setting,
    sentences=_sentences,
    tags=lambda recipe: [] if recipe.clusters is None else ["weight-clustering"],
    claim=_claim,
    reference_name="clustering",
    reference=_reference,
)
