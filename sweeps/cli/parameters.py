"""The short names of searched parameters, and a trial's settings in a few words."""

from collections.abc import Sequence

import pandas as pd

from analysis.rows.recipes import has_effect, is_off, recipe_of
from analysis.rows.records import Row

PREFIX = "param_"  # of a searched parameter's column
# Short, so that a table of five searched parameters fits into 80 columns; in the order shown.
SHORT_NAMES = {
    "layers": "lay",
    "hidden_size": "width",
    "static_width": "width",
    "clusters": "clus",
    "embedding_clusters": "emb clus",
    "temperature": "T",
    "alpha": "α",
    "sparsity": "spar",
    "bits": "bits",
    "token_dropout": "tok drop",
    "vocabulary_min_count": "vocab",
    "embedding_rank": "rank",
    "ffn_keep": "FFN",
    "heads_keep": "heads",
    "embedding_bits": "emb",
    "number_format": "format",
    "activation_bits": "act",
    "learning_rate": "lr",
    "train_examples": "examples",
}


def parameter_columns(columns: Sequence[object]) -> list[str]:
    """Return the columns of searched parameters, those with a short name first, in its order."""
    order = [PREFIX + name for name in SHORT_NAMES]
    names = [str(name) for name in columns if str(name).startswith(PREFIX)]
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def short_name(column: str) -> str:
    """Return how a searched parameter's column is called where there is little room."""
    name = column.removeprefix(PREFIX)
    return SHORT_NAMES.get(name, name)


def settings(row: Row) -> dict[str, str]:
    """Return the searched parameters that had an effect, column by column, with their values.

    If all of them are at a value that leaves the model as it is, these are returned.
    """
    recipe, done, off = recipe_of(row), dict[str, str](), dict[str, str]()
    for column in parameter_columns(list(row)):
        value, name = row.get(column), column.removeprefix(PREFIX)
        if value is not None and not pd.isna(value) and has_effect(name, value, recipe):
            shown = off if is_off(name, value) else done
            shown[column] = f"{value:.3g}" if isinstance(value, float) else str(value)
    return done or off


def settings_text(row: Row) -> str:
    """Return a trial's settings as text, such as "lay 2 bits 4"."""
    return " ".join(f"{short_name(column)} {value}" for column, value in settings(row).items())
