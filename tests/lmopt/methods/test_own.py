"""A researcher's own method: loaded, refused where it cannot work, a part of every key."""

from pathlib import Path

import pytest

from lmopt.errors import UserError
from lmopt.methods.own import recipe_type_of
from lmopt.methods.recipe import Recipe

SOURCE = """
from lmopt.config.base import Config
from lmopt.methods.base import Method, setting

class Fields(Config):
    noise: float = setting(0, ge=0, unit="share", header="nz")
    noise_kind: str = setting("uniform")

def apply(context, recipe, model, texts):
    return model

METHOD = Method(name="noise", fields=Fields, switches=("noise",), apply=apply)
"""


def written(tmp_path: Path, source: str, name: str = "noise.py") -> str:
    path = tmp_path / name
    path.write_text(source, encoding="utf-8")
    return str(path)


def test_its_fields_are_fields_of_the_recipe(tmp_path: Path) -> None:
    recipe_type = recipe_type_of([written(tmp_path, SOURCE)])
    recipe = recipe_type(noise=0.5, layers=2)
    assert [method.name for method in recipe.walk(False)] == ["student", "noise"]
    assert recipe.settings() == {"distillation": "2 layers", "noise": "all layers"}
    assert recipe_type.shown("noise") == {"unit": "share", "header": "nz"}
    with pytest.raises(ValueError, match="noise"):
        recipe_type(noise=-1)
    with pytest.raises(ValueError, match="noise"):
        Recipe(noise=0.5)  # type: ignore[call-arg]


def test_its_content_is_in_the_key_where_it_is_used(tmp_path: Path) -> None:
    one = recipe_type_of([written(tmp_path, SOURCE)])
    other = recipe_type_of([written(tmp_path, SOURCE + "\n# changed\n", "changed.py")])
    assert one(noise=0.5).key() != other(noise=0.5).key()
    assert one(noise=0.5).key() != one(noise=0.25).key()
    assert one(layers=2).key() == other(layers=2).key() == Recipe(layers=2).key()
    assert one(noise_kind="normal").key() == one().key()  # idle while the method is off
    assert one(noise=0.5, noise_kind="normal").key() != one(noise=0.5).key()


def test_an_edited_file_is_read_anew(tmp_path: Path) -> None:
    before = recipe_type_of([written(tmp_path, SOURCE)])
    after = recipe_type_of([written(tmp_path, SOURCE.replace('"noise", f', '"hiss", f'))])
    assert [one.methods[-1].name for one in (before, after)] == ["noise", "hiss"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("METHOD =", "OTHER =", "must define METHOD"),
        ("noise: float", "bits: float", "field bits .* belongs to quantization"),
        ("noise: float", "canonical: float", "field canonical .* belongs to Recipe"),
        ('name="noise"', 'name="sparsity"', "called 'sparsity', as another one"),
        (", apply=apply)", ")", "has no apply"),
        ('switches=("noise",)', 'switches=("volume",)', "switch volume .* none of its fields"),
        ('switches=("noise",), ', "", "needs switches"),
        ("def apply", "1 / 0\ndef apply", "does not run: ZeroDivisionError"),
        ("def apply", "def apply(", "does not run: SyntaxError"),
    ],
)
def test_a_file_that_cannot_work_is_refused_by_name(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    assert old in SOURCE
    source = SOURCE.replace(old, new)
    if "bits" in new or "canonical" in new:
        source = source.replace('switches=("noise",)', f'switches=("{new.split(":")[0]}",)')
    path = written(tmp_path, source)
    with pytest.raises(UserError, match=words) as found:
        recipe_type_of([path])
    assert path in str(found.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*gone\.py"):
        recipe_type_of([str(tmp_path / "gone.py")])
