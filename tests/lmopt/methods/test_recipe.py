import subprocess
import sys

import pytest
from pydantic import ValidationError

from lmopt.config.base import BITS
from lmopt.config.task import SplitConfig, TaskConfig
from lmopt.methods.recipe import Recipe


def test_importing_the_configuration_stays_light() -> None:
    code = "import lmopt.config, sys; print({'torch', 'numpy', 'transformers'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_unknown_keys_and_bad_ranges_are_refused() -> None:
    with pytest.raises(ValidationError, match="sparcity"):
        Recipe(sparcity=0.5)  # type: ignore[call-arg]
    for bad in ({"sparsity": 1.0}, {"alpha": 1.2}, {"temperature": 0}, {"bits": 5}, {"layers": -1}):
        with pytest.raises(ValidationError, match=next(iter(bad))):
            Recipe(**bad)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match=r"must be 1, got 1\.2"):
        SplitConfig(train=0.7)
    with pytest.raises(ValidationError):
        TaskConfig(dataset="")


def test_a_key_ignores_exactly_what_cannot_matter() -> None:
    assert Recipe(temperature=7, alpha=1, batch_size=8, seed=3).key() == Recipe().key()
    assert Recipe(recovery_epochs=2).key() == Recipe().key()
    assert Recipe(epochs=1, alpha=0, temperature=9).key() == Recipe(epochs=1, alpha=0).key()
    assert Recipe(epochs=1, device="cpu").key() == Recipe(epochs=1).key()
    trained = Recipe(epochs=1, sparsity=0.5, recovery_epochs=1)
    changes = {
        "temperature": 3.0,
        "alpha": 0.9,
        "layers": 2,
        "epochs": 2.0,
        "learning_rate": 1e-3,
        "train_examples": 10,
        "sparsity": 0.6,
        "recovery_epochs": 2.0,
        "bits": 8,
        "seed": 1,
        "dropout": 0.0,
        "freeze_embeddings": True,
    }
    keys = {trained.model_copy(update={name: value}).key() for name, value in changes.items()}
    assert len(keys) == len(changes)
    assert trained.key() not in keys
    # A checkpoint's new head is drawn by seed even without training.
    assert Recipe(base="student", seed=1).key() != Recipe(base="student").key()


def test_an_untrained_recipe_keeps_shape_and_bits() -> None:
    recipe = Recipe(layers=2, epochs=3, sparsity=0.5, recovery_epochs=1, bits=4, seed=5)
    assert recipe.untrained() == Recipe(layers=2, bits=4)
    assert len({Recipe(bits=bits).untrained().key() for bits in BITS}) == len(BITS)


def test_storage_settings_count_only_where_they_act() -> None:
    assert Recipe(bits=8, number_format="nf4").key() == Recipe(bits=8).key()
    assert Recipe(bits=4, number_format="nf4").key() != Recipe(bits=4).key()
    assert Recipe(bits=4, embedding_bits=4).key() == Recipe(bits=4).key()
    assert Recipe(bits=8, embedding_bits=4, number_format="nf4").key() != Recipe(bits=8).key()
    assert Recipe(bits=4, activation_bits=8).key() == Recipe(bits=4).key()
    assert Recipe(bits=8, rounding="awq").key() == Recipe(bits=8).key()
    assert Recipe(clusters=16, bits=4).key() == Recipe(clusters=16).key()
    assert Recipe(bits=16, finetune_epochs=1).key() == Recipe(bits=16).key()
    assert (
        Recipe(bits=2, finetune_epochs=1, seed=1).key() != Recipe(bits=2, finetune_epochs=1).key()
    )


def test_a_static_student_has_no_layers_to_prune_and_its_own_learning_rate() -> None:
    static = Recipe(layers=0, epochs=1)
    assert static.model_copy(update={"sparsity": 0.5, "recovery_epochs": 1}).key() == static.key()
    assert static.model_copy(update={"learning_rate": 1.0}).key() == static.key()
    assert static.model_copy(update={"static_learning_rate": 1.0}).key() != static.key()
    assert Recipe(layers=1, static_width=64).key() == Recipe(layers=1).key()
    assert Recipe(layers=0, seed=1).key() != Recipe(layers=0).key()  # Its head is drawn.
    assert static.untrained() == Recipe(layers=0)
