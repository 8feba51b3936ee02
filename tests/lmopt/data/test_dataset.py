import re
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import given
from hypothesis import strategies as st

from lmopt.config.task import SplitConfig, TaskConfig
from lmopt.data.chunking import chunk_text
from lmopt.data.dataset import SPLITS, Data, build_data, drop_duplicates, load_data, split_documents
from lmopt.data.sources import Rows
from lmopt.data.tokens import concatenate, load_tokens, pad, save_tokens, tokenize
from lmopt.models.loading import load_tokenizer

SENTENCES = st.lists(
    st.lists(st.sampled_from(["cat", "dog", "пёс", "3.5", "U.S"]), min_size=1, max_size=9).map(
        lambda words: " ".join(words) + "."
    ),
    min_size=1,
    max_size=12,
)


@given(SENTENCES, st.integers(1, 15), st.sampled_from([" ", "\n", "\n\n"]))
def test_chunks_are_consecutive_whole_sentences_of_enough_words(
    sentences: list[str], min_words: int, separator: str
) -> None:
    chunks = chunk_text(separator.join(sentences), min_words)
    assert " ".join(chunks) == " ".join(sentences)
    total = len(" ".join(sentences).split())
    for chunk in chunks:
        assert len(chunk.split()) >= min(min_words, total)
    # As many as fit: no chunk but the last would still be long enough without its last sentence.
    for chunk in chunks[:-1]:
        shorter = re.split(r"(?<=\.) ", chunk)[:-1]
        assert len(" ".join(shorter).split()) < min_words


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


def test_duplicates_keep_the_first_within_and_across() -> None:
    first = Rows(["x", "y", "x"], ["a", "a", "b"], ["1", "2", "3"])
    second = Rows(["y", "z"], ["b", "b"], ["4", "5"])
    assert drop_duplicates([first, second]) == [
        Rows(["x", "y"], ["a", "a"], ["1", "2"]),
        Rows(["z"], ["b"], ["5"]),
    ]


def load(task: TaskConfig, folder: Path) -> Data:
    build_data(task, folder)
    return load_data(folder)


def test_no_text_and_no_document_is_in_two_splits(csv_file: Path, tmp_path: Path) -> None:
    task = TaskConfig(
        dataset=str(csv_file), text_column="body", label_column="topic", group_column="document"
    )
    data = load(task, tmp_path)
    assert data.label_names == ["деньги", "наука", "спорт"]
    texts = [set(data.splits[name].texts) for name in SPLITS]
    groups = [set(data.splits[name].groups.tolist()) for name in SPLITS]
    assert sum(map(len, texts)) == len(set().union(*texts)) == 360
    assert [len(g) for g in groups] == [36, 12, 24]
    assert len(set().union(*groups)) == 72
    for name in SPLITS:
        assert (
            np.bincount(data.splits[name].labels).tolist()
            == [len(texts[SPLITS.index(name)]) / 3] * 3
        )


def test_own_splits_are_respected_and_missing_ones_carved(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    train = "".join(f"word{i},{i % 2}\n" for i in range(40))
    (folder / "train.csv").write_text("text,label\nshared,0\n" + train)
    (folder / "test.csv").write_text("text,label\nshared,0\nheld out,1\n")
    task = TaskConfig(dataset=str(folder), split=SplitConfig(train=0.5, validation=0.25, test=0.25))
    splits = load(task, tmp_path).splits
    assert splits["test"].texts == ["shared", "held out"]
    assert len(splits["train"].texts) + len(splits["validation"].texts) == 40
    assert len(splits["validation"].texts) == pytest.approx(40 / 3, abs=2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,x\nb,x\nc,x\nd,y\n", "class 'y' has 1 document"),
        ("a,x\nb,x\nc,x\n", "has one class"),
        ("a,x\n ,x\n", "empty text in row 1"),
        ("a,x\nb,\n", "missing label in row 1"),
        ("a,x\nb,NaN\n", "missing label in row 1"),
    ],
)
def test_bad_rows_are_one_line_with_a_remedy(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text("text,label\n" + rows)
    with pytest.raises(ValueError, match=message) as error:
        build_data(TaskConfig(dataset=str(tmp_path / "bad.csv")), tmp_path)
    assert "\n" not in str(error.value)


def test_a_class_that_is_named_but_has_no_text_does_not_count(tmp_path: Path) -> None:
    label = ClassLabel(names=["no", "yes"])
    rows = {"text": [f"word{i}" for i in range(9)], "label": [1] * 9}
    table = Dataset.from_dict(rows, Features({"text": Value("string"), "label": label}))
    table.save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"has one class \('yes'\): at least 2 are needed"):
        build_data(TaskConfig(dataset=str(tmp_path / "saved")), tmp_path)


def test_tokens_survive_saving_and_padding(teacher_folder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(teacher_folder)
    texts = ["учёный открыл закон", "матч", "банк " * 50]
    tokens = tokenize(tokenizer, texts, 10)
    save_tokens(tmp_path / "tokens.npz", {"test": tokens})
    loaded = load_tokens(tmp_path / "tokens.npz")["test"]
    expected = tokenizer(texts, truncation=True, max_length=10, padding=True, return_tensors="np")
    input_ids, mask = pad([loaded[i] for i in range(3)], tokenizer.pad_token_id)
    np.testing.assert_array_equal(input_ids, expected["input_ids"])
    np.testing.assert_array_equal(mask, expected["attention_mask"])
    twice = concatenate([tokens, tokens])
    assert len(twice) == 6
    np.testing.assert_array_equal(twice[5], tokens[2])
