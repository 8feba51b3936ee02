"""The model card: what was done in words, the table, front matter that the hub's library reads."""

from importlib import metadata
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from pydantic import create_model

from lmopt.methods.base import Names
from lmopt.methods.recipe import Recipe
from lmopt.packaging import licences as licence
from lmopt.packaging.licences import (
    Licence,
    card_licence,
    common_licence,
    licence_text,
    licences_of,
)
from lmopt.packaging.model_card import (
    Measurement,
    front_matter,
    measurement_table,
    model_card,
    shown_place,
    storage_in_words,
)


def words(recipe: Recipe, *, extra: bool = True) -> str:
    return "\n".join(recipe.sentences(Names("rubert", "tiny2", extra)))


def test_the_teacher_as_it_is_was_only_stored() -> None:
    assert words(Recipe()).splitlines() == [
        "Started from the fine-tuned teacher rubert, all layers.",
        "Weights stored in 32 bits, not quantized.",
    ]


def test_every_step_is_said_with_its_numbers() -> None:
    recipe = Recipe(
        base="student", layers=2, epochs=3, temperature=4, alpha=0.25, learning_rate=3e-4,
        train_examples=6000, sparsity=0.3, recovery_epochs=0.5, bits=4, seed=7,
    )  # fmt: skip
    said = words(recipe)
    for part in (
        "checkpoint tiny2 with 2 of its encoder layers",
        "Distilled for 3 epochs on 0.25 x soft loss at temperature 4 + 0.75 x loss on the labels",
        "30 % of each encoder matrix",
        "recovered for 0.5 epochs",
        "train examples 6000",
        "learning rate 0.0003",
        "seed 7",
        "4 bits, embeddings included",
    ):
        assert part in said
    assert "on the labels alone" in words(Recipe(epochs=1, alpha=0))


@pytest.mark.parametrize(
    ("recipe", "true", "false"),
    [
        (
            Recipe(layers=0, epochs=2, static_width=64, static_learning_rate=1e-2),
            ["static embeddings without encoder layers: one vector of 64 numbers a token, made "
             "from the fine-tuned teacher rubert, and a new head of 256 units", "rate 0.01"],
            "all layers",
        ),
        (Recipe(layers=0, base="student"), ["made from the checkpoint tiny2"], "teacher"),
        (Recipe(layers=2, layer_choice="first"), ["encoder layers (the first ones)"], "evenly"),
        (Recipe(layers=2, layer_choice="last"), ["encoder layers (the last ones)"], "evenly"),
        (Recipe(layers=2, layer_choice="importance"), ["(those that change their"], "evenly"),
        (Recipe(sparsity=0.5, sparsity_criterion="wanda"), ["input norm (Wanda)"], "magnitude."),
        (
            Recipe(sparsity=0.5, sparsity_criterion="global_magnitude"),
            ["50 % of the encoder's weights", "all matrices together"],
            "each encoder matrix",
        ),
        (Recipe(clusters=4), ["share 4 values (a codebook), embeddings included"], "32 bits"),
        (Recipe(clusters=4, bits=4), ["share 4 values"], "bits"),
        (Recipe(clusters=4, embedding_clusters=16), ["those of embeddings 16"], "included"),
        (Recipe(bits=4, embedding_bits=2), ["in 4 bits, embeddings in 2"], "included"),
        (Recipe(bits=8, activation_bits=8), ["products in 8-bit integers"], "floating"),
        (Recipe(vocabulary_min_count=1), ["the training texts use and what spells"], "times"),
        (
            Recipe(vocabulary_min_count=3, hidden_size=64),
            ["use at least 3 times and", "narrowed to 64 by"],
            "Distilled",
        ),
        (
            Recipe(layers=2, epochs=1, pretrain_epochs=2, pretrain_examples=40_000),
            ["for 2 epochs on the teacher's hidden states of training texts and of at most 40,000",
             "Distilled for 1 epoch on"],
            "1 epochs",
        ),
        (
            Recipe(layers=2, epochs=1, pretrain_epochs=1, pretrain_examples=0),
            ["for 1 epoch on the teacher's hidden states of training texts."],
            "extra",
        ),
        (Recipe(ffn_keep=0.25), ["to 25 % of the FFN neurons, 100 % of", "at once"], "epoch"),
        (
            Recipe(heads_keep=0.5, structure_epochs=2, bits=4, finetune_epochs=0.5),
            ["in training for 2 epochs on", "for 0.5 epochs with the weights as they are stored"],
            "at once",
        ),
    ],
)  # fmt: skip
def test_each_choice_is_said_as_it_was_made(recipe: Recipe, true: list[str], false: str) -> None:
    said = words(recipe.canonical())
    assert all(part in said for part in true), said
    assert false not in said and "`" not in said


@pytest.mark.parametrize(
    ("recipe", "tags", "storage"),
    [
        (Recipe(), [], "32 bits"),
        (Recipe(epochs=1, sparsity=0.5, bits=8), ["distillation", "pruning", "quantization"],
         "8 bits"),
        (Recipe(ffn_keep=0.5), ["pruning"], "32 bits"),
        (Recipe(heads_keep=0.5), ["pruning"], "32 bits"),
        (Recipe(vocabulary_min_count=2), ["vocabulary-trimming"], "32 bits"),
        (Recipe(embedding_rank=16), ["factorization"], "32 bits"),
        (Recipe(layers=0, epochs=1, sparsity=0.5), ["static-embeddings", "distillation"],
         "32 bits"),
        (Recipe(clusters=8, bits=4), ["weight-clustering"], "8 clusters"),
        (Recipe(clusters=8, embedding_clusters=4), ["weight-clustering"],
         "8 clusters (embeddings 4)"),
        (Recipe(bits=4, embedding_bits=2), ["quantization"], "4 bits (embeddings 2)"),
    ],
)  # fmt: skip
def test_tags_and_storage_are_those_of_the_recipe(
    recipe: Recipe, tags: list[str], storage: str
) -> None:
    assert recipe.canonical().tags() == tags
    assert storage_in_words(recipe.canonical()) == storage


def test_a_field_that_the_card_does_not_know_is_not_lost() -> None:
    """Recipes grow: whatever a later version adds must appear, by its name and description."""
    described = Recipe.model_fields["sparsity"]
    grown = create_model("Grown", __base__=Recipe, towers=(int, 0), ffn_share=(float, described))
    said = words(grown(towers=16, ffn_share=0.25, bits=8))
    assert "`towers`: 16" in said
    assert "`ffn_share`: 0.25 (Share of zero weights in encoder layers)" in said


def test_the_table_has_errors_intervals_and_no_invented_number() -> None:
    lines = [
        Measurement("mine", 5_000_000, 0.864, 0.008, 0.026, 0.003, {"batch 1": (6.2, 5.9, 6.5)}),
        Measurement("baseline", 91_100_000, 0.89, 0.008, -0.0, 0.0),
        Measurement("linear", None, 0.851, None),
    ]
    table = measurement_table(lines, ["batch 1", "batch 32"]).splitlines()
    assert table[2] == "| mine | 5.00 | 86.4 ± 0.8 | 2.6 ± 0.3 | 6.2x [5.9, 6.5] | – |"
    assert table[3] == "| baseline | 91.10 | 89.0 ± 0.8 | 0.0 ± 0.0 | – | – |"
    assert table[4] == "| linear | – | 85.1 | – | – | – |"


def test_the_hub_s_own_library_reads_the_front_matter(tmp_path: Path) -> None:
    matter = front_matter(
        name="demo-trial-7",
        licence="apache-2.0",
        library="openvino",
        tags=["lmopt", "pruning"],
        base_model="owner/name",
        dataset="owner/texts",
        hub_dataset=True,
        accuracy=0.86412,
    )
    path = tmp_path / "README.md"
    path.write_text(model_card(matter, "Demo", {"One": "text", "Two": "more"}), encoding="utf-8")
    read = ModelCard.load(path)
    assert read.data.license == "apache-2.0" and read.data.base_model == "owner/name"
    assert read.data.library_name == "openvino" and "pruning" in read.data.tags
    (result,) = read.data.eval_results or []
    assert (result.metric_value, result.dataset_split) == (0.8641, "test")
    assert read.text.strip() == "# Demo\n\n## One\n\ntext\n\n## Two\n\nmore"


def test_no_folder_of_this_machine_is_shown(tmp_path: Path) -> None:
    assert shown_place(str(tmp_path / "reviews.csv")) == "reviews.csv"
    assert shown_place("owner/name") == "owner/name"
    assert shown_place("package:some/model") == "package:some/model"


def test_a_licence_comes_from_the_card_or_the_package_and_else_is_unknown(tmp_path: Path) -> None:
    assert licences_of(str(tmp_path)) == []
    assert licence_text([]) == "unknown"
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Model\nlicense: gpl\n")
    (tmp_path / "data.csv").write_text("text,label\n")
    for place in (tmp_path, tmp_path / "data.csv"):
        assert licences_of(str(place)) == [Licence("mit", "the README.md beside it")]
    assert licences_of("nobody/has-this-one") == []


@pytest.mark.parametrize(
    "text",
    ["", "no front matter", "---\n[broken\n---\n", "---\ntags: [x]\n---\n", "---\n- a\n---\n"],
)
def test_a_card_without_a_licence_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert card_licence(tmp_path / "README.md") is None


def test_a_package_s_licence_is_in_its_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    found = licence._package_licences("yaml")
    assert found == [
        Licence("MIT", f"the metadata of the package PyYAML {metadata.version('PyYAML')}")
    ]
    assert "says the metadata" in licence_text(found)


def test_the_parts_must_agree_for_the_whole_to_have_a_licence() -> None:
    mit, apache = [Licence("MIT", "x")], [Licence("apache-2.0", "x"), Licence("MIT", "y")]
    assert common_licence([mit, mit]) == "mit"
    assert common_licence([mit, apache]) == common_licence([mit, []]) == "unknown"


def test_extra_texts_are_said_where_the_task_has_them() -> None:
    recipe = Recipe(layers=2, epochs=1, pretrain_epochs=1).canonical()
    assert "of training texts and of the task's extra texts." in words(recipe)
    assert "extra" not in words(recipe, extra=False)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(ffn_keep=0.5, structure_epochs=1, alpha=0.7, seed=3),
        Recipe(bits=4, finetune_epochs=1, seed=3),
        Recipe(layers=2, pretrain_epochs=1, seed=3),
    ],
)
def test_whatever_was_trained_has_its_seed(recipe: Recipe) -> None:
    said = words(recipe.canonical())
    assert "seed 3." in said and "`" not in said
