"""Idle fields change neither the key nor the artifact. Every other field changes the key."""

from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmopt.config.models import StudentConfig, TeacherConfig
from lmopt.config.task import TaskConfig
from lmopt.methods.recipe import Recipe
from lmopt.pipeline.prepare import Prepared, prepare
from lmopt.pipeline.shared_stages import artifact_stage
from lmopt.pipeline.trial import make_model
from lmopt.runtimes.config import RuntimeConfig
from lmopt.runtimes.manifest import read_manifest
from lmopt.stages.context import Walk

# Two or three valid values of each field that has no closed list of them.
VALUES: dict[str, list[Any]] = {
    "layers": [None, 0, 1, 2],
    "hidden_size": [None, 16],
    "static_width": [256, 32],
    "static_hidden": [256, 16],
    "vocabulary_min_count": [None, 1, 2],
    "embedding_rank": [None, 8],
    "assistant_layers": [None, 2],
    "pretrain_examples": [None, 0, 5],
    "train_examples": [None, 50],
    "unlabelled_examples": [0, 10],
    "dropout": [None, 0.0, 0.1],
    "ffn_keep": [1, 0.5],
    "heads_keep": [1, 0.5],
    "clusters": [None, 4, 16],
    "embedding_clusters": [None, 8],
    "finetune_learning_rate": [None, 1e-4],
    "batch_size": [32, 16],
    "seed": [0, 1],
    "temperature": [2.0, 4.0],
    "alpha": [0.0, 0.5, 1.0],
    "learning_rate": [1e-4, 1e-3],
    "static_learning_rate": [3e-3, 1e-2],
    "pretrain_learning_rate": [1e-3, 2e-3],
    "freeze_embeddings": [False, True],
}
SHARES = {"sparsity", "token_dropout", "mixed_share"}
# A trial's recipe is canonical before anything is made of it. These three must be: what they name
# would be done, or tried, where a method that they belong to is off.
CANONICAL_ONLY = {"activation_bits", "rounding", "attention_weight"}
WEIGHTS = {"hidden_weight", "attention_weight"}


def values_of(name: str) -> list[Any]:
    """Return valid values of a field, its default among them."""
    annotation = Recipe.model_fields[name].annotation
    if name in VALUES:
        return VALUES[name]
    if name in SHARES:
        return [0, 0.3]
    if name in WEIGHTS or name in Recipe.epoch_fields():
        return [0, 1.0]
    options = get_args(annotation)
    literals = [v for option in options for v in (get_args(option) or (option,))]
    assert get_origin(annotation) is not None and literals, f"say values of {name} here"
    return [None if value is type(None) else value for value in literals]


recipes = st.fixed_dictionaries(
    {name: st.sampled_from(values_of(name)) for name in Recipe.model_fields}
)


@settings(max_examples=300, deadline=None)
@given(recipes, st.data())
def test_a_key_depends_on_every_field_but_the_idle_ones(
    fields: dict[str, Any], data: st.DataObject
) -> None:
    recipe = Recipe(**fields)
    assert recipe.canonical().key() == recipe.key()
    assert recipe.canonical().canonical() == recipe.canonical()
    name = data.draw(st.sampled_from(sorted(fields)))
    other = Recipe(**fields | {name: data.draw(st.sampled_from(values_of(name)))})
    if name in recipe.idle():
        assert other.key() == recipe.key()
    elif name not in other.idle() and getattr(other, name) != getattr(recipe, name):
        assert other.key() != recipe.key()


@settings(max_examples=100, deadline=None)
@given(recipes)
def test_the_walk_and_the_shape_do_not_depend_on_idle_fields(
    fields: dict[str, Any],
) -> None:
    recipe, canonical = Recipe(**fields), Recipe(**fields).canonical()
    assert [method.name for method in recipe.walk(False)] == [
        method.name for method in canonical.walk(False)
    ]
    assert recipe.untrained() == canonical.untrained()


@pytest.fixture(scope="module")
def prepared(csv_file: Path, teacher_folder: Path, tmp_path_factory: Any) -> Prepared:
    task = TaskConfig(
        dataset=str(csv_file), text_column="body", label_column="topic", max_length=16
    )
    teacher = TeacherConfig(model=str(teacher_folder), epochs=1, train_examples=50)
    runtime = RuntimeConfig(rounds_b1=3, rounds_b32=3)
    cache = tmp_path_factory.mktemp("cache")
    return prepare(task, teacher, StudentConfig(), runtime, cache=cache, threads=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"bits": 8},
        {"layers": 0, "epochs": 0.2, "sparsity": 0.5, "ffn_keep": 0.5, "learning_rate": 9e-3},
        {"layers": 1, "epochs": 0.2, "alpha": 0.0, "temperature": 9.0},
        {"ffn_keep": 0.5, "structure_criterion": "magnitude", "clusters": 4, "bits": 2},
        {"sparsity": 0.5, "sparsity_schedule": "cubic", "bits": 4, "number_format": "nf4"},
    ],
    ids=["stored", "static", "labels alone", "codebook", "pruned"],
)
def test_idle_fields_leave_the_artifact_as_it_is(
    changes: dict[str, Any], prepared: Prepared, tmp_path: Path
) -> None:
    """Each of them at another value, without the canonical form in between."""
    recipe = Recipe(train_examples=40, batch_size=16, **changes)
    elsewhere = {
        name: next(v for v in values_of(name) if v != Recipe.model_fields[name].default)
        for name in recipe.idle() - {"device"} - CANONICAL_ONLY
    }
    assert elsewhere
    hashes = {
        artifact_hash(one, prepared, tmp_path / str(i))
        for i, one in enumerate((recipe.canonical(), recipe.model_copy(update=elsewhere)))
    }
    assert len(hashes) == 1


def artifact_hash(recipe: Recipe, prepared: Prepared, cache: Path) -> str:
    """Return the hash of a recipe's artifact, made as the recipe stands."""
    walk = Walk(cache, 1)
    model, tokens, storage = make_model(walk, prepared, recipe)
    limit = prepared.task.max_length
    artifact = artifact_stage(walk, prepared.runtime, model, recipe, storage, tokens, limit)
    return read_manifest(artifact.path).hash
