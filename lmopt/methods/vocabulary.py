"""Vocabulary trimming: keep the tokens of the training texts and the pieces of all other words."""

from pathlib import Path
from typing import TYPE_CHECKING

from lmopt.config.base import Config
from lmopt.methods.base import Context, Method, Names, Sentence, Texts, setting
from lmopt.stages.cache import Stage

if TYPE_CHECKING:
    from lmopt.methods.recipe import Recipe

VERSION = 1


class Fields(Config):
    """Recipe fields of vocabulary trimming."""

    vocabulary_min_count: int | None = setting(
        None,
        ge=1,
        unit="uses",
        header="vocab",
        description="Tokens are kept that training texts use so often; None: all.",
    )


def _apply(context: Context, recipe: "Recipe", model: Stage, texts: Texts) -> Stage:
    """Return the model and its tokenizer with the tokens of the training texts alone."""

    def build(folder: Path, _: Path) -> None:
        from lmopt.compression.vocabulary import trim_vocabulary
        from lmopt.data.tokens import load_tokens

        assert recipe.vocabulary_min_count is not None
        train = load_tokens(texts.tokens.path / "tokens.npz")["train"]
        trim_vocabulary(model.path, train, recipe.vocabulary_min_count, folder, context.max_length)

    parameters = {"min_count": recipe.vocabulary_min_count, "max_length": context.max_length}
    parents = [model.key, texts.tokens.key]
    return context.walk.stage("vocabulary", build, VERSION, parameters, parents)


def _setting(recipe: "Recipe") -> str:
    least = recipe.vocabulary_min_count
    return "" if least is None else f"words seen {least}+ times"


def _sentences(recipe: "Recipe", names: Names) -> list[Sentence]:
    if (least := recipe.vocabulary_min_count) is None:
        return []
    times = "" if least <= 1 else f" at least {least} times"
    text = f"Vocabulary cut to what the training texts use{times} and what spells other words."
    return [Sentence(text, frozenset({"vocabulary_min_count"}))]


METHOD = Method(
    name="vocabulary",
    title="vocabulary",
    fields=Fields,
    switches=("vocabulary_min_count",),
    apply=_apply,
    phase="vocabulary",
    setting=_setting,
    sentences=_sentences,
    tags=lambda recipe: [] if recipe.vocabulary_min_count is None else ["vocabulary-trimming"],
)
