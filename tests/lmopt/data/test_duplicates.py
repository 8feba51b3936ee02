from hypothesis import given
from hypothesis import strategies as st

from lmopt.data.duplicates import Conflict, drop_repeats, find_repeats
from lmopt.data.rows import Rows

ROWS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("xy")), max_size=12)


def rows_of(pairs: list[tuple[str, str]], name: str) -> Rows:
    texts, labels = [text for text, _ in pairs], [label for _, label in pairs]
    return Rows(texts, list(labels), [f"{name}{i}" for i in range(len(pairs))])


@given(ROWS, st.none() | ROWS, st.none() | ROWS)
def test_held_out_rows_stay_and_training_copies_go(
    train: list[tuple[str, str]],
    validation: list[tuple[str, str]] | None,
    test: list[tuple[str, str]] | None,
) -> None:
    given_rows = {"train": train, "validation": validation, "test": test}
    tables = {name: rows_of(rows, name) for name, rows in given_rows.items() if rows is not None}
    repeats, conflicts = find_repeats(tables)
    kept = drop_repeats(tables, repeats)
    held_out = {text for text, _ in [*(validation or []), *(test or [])]}
    for name in tables.keys() - {"train"}:
        assert kept[name] == tables[name]
    assert kept["train"].texts == list(dict.fromkeys(t for t, _ in train if t not in held_out))
    firsts = [train[[t for t, _ in train].index(text)][1] for text in kept["train"].texts]
    assert kept["train"].labels == firsts
    everything = [*(test or []), *(validation or []), *train]
    several = {t for t, y in everything if {z for s, z in everything if s == t} - {y}}
    assert {conflict.text for conflict in conflicts} == several


@given(ROWS)
def test_without_splits_the_first_of_equal_texts_is_kept(rows: list[tuple[str, str]]) -> None:
    tables = {"all": rows_of(rows, "d")}
    repeats, _ = find_repeats(tables)
    assert drop_repeats(tables, repeats)["all"].texts == list(dict.fromkeys(t for t, _ in rows))
    assert sum(repeats["all"].again) == len(rows) - len({t for t, _ in rows})


def test_each_row_is_told_what_it_repeats() -> None:
    tables = {
        "train": Rows(["a", "b", "b", "c"], ["x", "x", "y", "x"], ["1", "2", "3", "4"]),
        "test": Rows(["a", "d", "d"], ["y", "x", "x"], ["5", "6", "7"]),
    }
    repeats, conflicts = find_repeats(tables)
    assert repeats["test"].again == [False, False, True]
    assert repeats["train"].copied == [True, False, False, False]
    assert repeats["train"].again == [False, False, True, False]
    assert repeats["train"].differs == [True, False, True, False]
    assert conflicts == [Conflict("a", ("y", "x")), Conflict("b", ("x", "y"))]
