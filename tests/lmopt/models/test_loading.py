from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lmopt.models.loading import check_length, load_classifier, load_tokenizer
from tests.lmopt.small_families import OPTIONS, saved, tiny

ABSOLUTE = [name for name in OPTIONS if "modernbert" not in name]  # Rotary positions never end.


@pytest.mark.parametrize("family", ABSOLUTE)
@pytest.mark.parametrize("pad", [1, 3])
def test_the_longest_text_is_just_not_too_long(family: str, pad: int, tmp_path: Path) -> None:
    """The limit by config.json is the length from which on the model itself fails."""
    model = tiny(family, pad_token_id=pad)
    folder = saved(model, tmp_path)
    lengths = range(30, 45)
    allowed = [n for n in lengths if not raises(lambda n=n: check_length(folder, n))]
    ids = torch.full((1, 45), 7)
    with torch.inference_mode():
        possible = [n for n in lengths if not raises(lambda n=n: model(ids[:, :n]))]
    assert allowed == possible
    assert 35 < len(allowed) + 30 < 42


def raises(call: Callable[[], Any]) -> bool:
    try:
        call()
    except (ValueError, IndexError, RuntimeError):
        return True
    return False


def test_unknown_models_and_too_long_texts(student_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can be loaded from") as error:
        load_classifier(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="no such folder or file"):
        load_tokenizer(tmp_path / "nothing")
    check_length(student_folder, 64)
    with pytest.raises(ValueError, match=r"max_length must be at most 64 .*got 65"):
        check_length(student_folder, 65)
