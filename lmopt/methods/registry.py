"""The compression methods, in the order of a recipe's walk. A new method adds its line here."""

from lmopt.methods import (
    clustering,
    distillation,
    factorization,
    general_distillation,
    mixed_precision,
    quantization,
    sparsity,
    structured_pruning,
    student,
    training,
    vocabulary,
)
from lmopt.methods.base import Method

METHODS: tuple[Method, ...] = (
    student.METHOD,
    vocabulary.METHOD,
    factorization.METHOD,
    general_distillation.METHOD,
    distillation.METHOD,
    structured_pruning.METHOD,
    sparsity.METHOD,
    training.METHOD,
    clustering.METHOD,
    quantization.METHOD,
    mixed_precision.METHOD,
)


class RecipeFields(
    mixed_precision.Fields,
    quantization.Fields,
    clustering.Fields,
    training.Fields,
    sparsity.Fields,
    structured_pruning.Fields,
    distillation.Fields,
    general_distillation.Fields,
    factorization.Fields,
    vocabulary.Fields,
    student.Fields,
):
    """The fields of all methods; pydantic takes the fields of the last base first."""
