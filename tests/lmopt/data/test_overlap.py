import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmopt.data import overlap
from lmopt.data.overlap import overlaps

# Few words, so that long runs of them are shared by chance.
WORDS = st.sampled_from(["да", "нет", "Да,", "a", "длинноеслово", "中文", "字"])
CHINESE = "买了一台新的笔记本电脑，速度很快，屏幕也很清楚，值得推荐"
TEXTS = st.lists(st.lists(WORDS, max_size=30).map(" ".join), max_size=6)


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def letters_of(text: str) -> str:
    """Letters, a Chinese one four times."""
    return "".join(c * 4 if "\u4e00" <= c <= "\u9fff" else c for c in "".join(words_of(text)))


def share(text: str, other: str) -> bool:
    """The rule as the docstring has it, letter by letter."""
    a, b = words_of(text), words_of(other)
    if any(a[i : i + 13] == b[j : j + 13] for i in range(len(a) - 12) for j in range(len(b) - 12)):
        return True
    if a == b and len(a) < 13:
        return True
    x, y = letters_of(text), letters_of(other)
    if any(x[i : i + 100] in y for i in range(len(x) - 99)):
        return True
    return (24 <= len(x) < 100 and x in y) or (24 <= len(y) < 100 and y in x)


@settings(deadline=None, max_examples=60)
@given(TEXTS, TEXTS, st.sampled_from([40, 10**6]))
def test_texts_that_share_a_part_are_found_from_both_sides(
    texts: list[str], others: list[str], block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "BLOCK_SYMBOLS", block)
        found, other_found = overlaps(texts, others)
    assert found.tolist() == [any(share(t, o) for o in others) for t in texts]
    assert other_found.tolist() == [any(share(o, t) for t in texts) for o in others]


@pytest.mark.parametrize(
    ("text", "other", "shared"),
    [
        ("这个手机非常好用", "昨天收到了，这个手机非常好用！推荐购买。", True),
        (f"我昨天在商店里{CHINESE}给大家", f"他说{CHINESE}。", True),
        ("这个手机", "这个手机非常好用", False),
        ("Отличный телефон, всем советую", "Купил вчера. Отличный телефон, всем советую!!", True),
        ("отличный ТЕЛЕФОН всем-советую", "Отличный телефон, всем советую", True),
        ("Всё хорошо", "Сегодня всё хорошо", False),
        ("👍", "👎", False),
        ("👍 👍", "👍  👍", True),
        ("", "слово", False),
    ],
)
def test_short_and_unspaced_texts_are_compared_by_letters(
    text: str, other: str, shared: bool
) -> None:
    assert overlaps([text], [other])[0].tolist() == [shared]
    assert overlaps([other], [text])[0].tolist() == [shared]


def test_nothing_shares_nothing() -> None:
    assert overlaps([], ["a"])[0].shape == (0,)
    assert not overlaps(["a" * 200, "b"], [])[0].any()


def test_hashes_tell_runs_apart_at_every_place() -> None:
    """A run has one hash wherever it is, and others have others."""
    rng = np.random.default_rng(0)
    symbols = rng.integers(0, 3, 5000, dtype=np.uint32)
    hashes, _ = overlap._runs([symbols], 8)
    runs = [symbols[i : i + 8].tobytes() for i in range(len(symbols) - 7)]
    assert len(set(hashes.tolist())) == len(set(runs))
    assert len(set(zip(hashes.tolist(), runs, strict=True))) == len(set(runs))
