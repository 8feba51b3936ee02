"""Factorized embeddings: the word table as a product of two thin matrices."""

from pathlib import Path

import numpy as np

from lmopt.config.recipe import Recipe
from lmopt.data import tokens as datas
from lmopt.data.tokens import Tokens
from lmopt.methods import vocabulary
from lmopt.models.embeddings import factorize_embeddings, word_table
from lmopt.models.loading import load_classifier, load_tokenizer, save_model
from lmopt.stages.cache import Stage
from lmopt.stages.context import Walk


def factorize_vocabulary(model_folder: Path, train_tokens: Tokens, rank: int, folder: Path) -> None:
    """Factorise a saved classifier's word embeddings and save it into `folder`.

    Each token counts as often as the training text, read by the model's own tokenizer, has it.
    """
    model = load_classifier(model_folder)
    rows = word_table(model).num_embeddings
    factorize_embeddings(model, rank, np.bincount(train_tokens.ids, minlength=rows))
    save_model(model, load_tokenizer(model_folder), folder)


def factorize_stage(walk: Walk, recipe: Recipe, model: Stage, tokens: Stage) -> Stage:
    """The model with its word embeddings as a product of two thin matrices."""

    def build(folder: Path, _: Path) -> None:
        assert recipe.embedding_rank is not None
        train = datas.load_tokens(tokens.path / "tokens.npz")["train"]
        factorize_vocabulary(model.path, train, recipe.embedding_rank, folder)

    parameters = {"rank": recipe.embedding_rank}
    parents = [model.key, tokens.key]
    return walk.stage("factorize", build, vocabulary.VERSION, parameters, parents)
