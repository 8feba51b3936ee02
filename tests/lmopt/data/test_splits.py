import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmopt.data.rows import Rows
from lmopt.data.splits import SPLITS, refuse_shared_groups, split_documents


def rows_of(documents: dict[str, list[int]]) -> Rows:
    """`{label: [texts of each document]}` as rows."""
    rows = Rows([], [], [])
    for label, counts in documents.items():
        for document, count in enumerate(counts):
            for i in range(count):
                rows.texts.append(f"{label} {document} {i}")
                rows.labels.append(label)
                rows.groups.append(f"{label}/{document}")
    return rows


@given(
    st.lists(st.lists(st.integers(1, 5), min_size=3, max_size=40), min_size=1, max_size=4),
    st.integers(0, 5),
)
def test_a_split_never_divides_a_document(counts: list[list[int]], seed: int) -> None:
    rows = rows_of({f"class{i}": c for i, c in enumerate(counts)})
    shares = {"train": 0.5, "validation": 0.15, "test": 0.35}
    parts = split_documents(rows, shares, seed)
    groups = [set(parts[name].groups) for name in SPLITS]
    assert sum(map(len, groups)) == len(set().union(*groups)) == sum(map(len, counts))
    assert sorted(t for name in SPLITS for t in parts[name].texts) == sorted(rows.texts)
    for i, documents in enumerate(counts):
        for name, share in shares.items():
            inside = {g for g in parts[name].groups if g.startswith(f"class{i}/")}
            assert abs(len(inside) - share * len(documents)) <= 2
            assert inside
    assert split_documents(rows, shares, seed) == parts


def test_seeds_give_different_splits() -> None:
    rows = rows_of({"a": [1] * 40, "b": [1] * 40})
    shares = {"train": 0.5, "test": 0.5}
    assert split_documents(rows, shares, 0) != split_documents(rows, shares, 1)


def test_all_rare_classes_are_told_in_one_line() -> None:
    rows = rows_of({"a": [1, 1, 1], "спам": [1], "c": [2, 1], **{f"d{i}": [1] for i in range(5)}})
    shares = {"train": 0.5, "validation": 0.15, "test": 0.35}
    with pytest.raises(ValueError) as error:
        split_documents(rows, shares, 0, {"спам": "Спам"})
    assert str(error.value) == (
        "each of 3 splits needs a document of each class; classes with fewer documents: 'c' (2), "
        "'d0' (1), 'd1' (1), 'd2' (1), 'd3' (1) and 2 more; add examples or remove the classes"
    )


def test_splits_that_share_documents_are_refused() -> None:
    train, test = Rows(["a", "b"], ["x", "y"], ["Ann", "Bob"]), Rows(["c"], ["x"], ["Ann"])
    splits = {"train": train, "validation": Rows(["d"], ["x"], ["Eve"]), "test": test}
    with pytest.raises(
        ValueError, match=r"1 of 1 documents \(author\) of test are in train too \(Ann"
    ):
        refuse_shared_groups(splits, "author")
    refuse_shared_groups(splits | {"test": Rows(["c"], ["x"], ["Dan"])}, "author")
