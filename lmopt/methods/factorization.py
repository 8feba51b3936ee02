"""Factorized embeddings: the word table as a product of two thin matrices."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmopt.config.base import Config
from lmopt.methods.base import Context, Method, Texts, setting
from lmopt.models.families.limits import rank_refusal
from lmopt.models.families.registry import embedding_width
from lmopt.stages.cache import Stage

if TYPE_CHECKING:
    from lmopt.methods.recipe import Recipe

VERSION = 1


class Fields(Config):
    """Recipe fields of factorized embeddings."""

    embedding_rank: int | None = setting(
        None,
        ge=1,
        unit="dimensions",
        header="rank",
        description="Word embeddings as a product of two thin matrices; None: as one.",
    )


def _apply(context: Context, recipe: "Recipe", model: Stage, texts: Texts) -> Stage:
    """Return the model with its word embeddings as a product of two thin matrices."""

    def build(folder: Path, _: Path) -> None:
        from lmopt.compression.vocabulary import factorize_vocabulary
        from lmopt.data.tokens import load_tokens

        assert recipe.embedding_rank is not None
        train = load_tokens(texts.tokens.path / "tokens.npz")["train"]
        factorize_vocabulary(model.path, train, recipe.embedding_rank, folder)

    parameters = {"rank": recipe.embedding_rank}
    return context.walk.stage(
        "factorize", build, VERSION, parameters, [model.key, texts.tokens.key]
    )


def _refusal(recipe: "Recipe", model: Mapping[str, Any]) -> str | None:
    width = recipe.hidden_size or embedding_width(model)
    if recipe.embedding_rank is None or width is None or recipe.layers == 0:
        return None
    return rank_refusal(recipe.embedding_rank, width)


METHOD = Method(
    name="factorization",
    title="factorization",
    fields=Fields,
    switches=("embedding_rank",),
    apply=_apply,
    phase="shape",
    is_on=lambda recipe: recipe.embedding_rank is not None and recipe.layers != 0,
    idle=lambda recipe: {"embedding_rank"} if recipe.layers == 0 else set(),
    refusal=_refusal,
    setting=lambda recipe: "" if recipe.embedding_rank is None else f"rank {recipe.embedding_rank}",
    tags=lambda recipe: [] if recipe.embedding_rank is None else ["factorization"],
)
