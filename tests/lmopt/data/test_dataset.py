import re
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from hypothesis import given
from hypothesis import strategies as st

from lmopt.config.task import SplitConfig, TaskConfig
from lmopt.data.chunking import chunk_text
from lmopt.data.dataset import Data, build_data, load_data
from lmopt.data.splits import SPLITS
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


def test_given_test_rows_are_all_kept_and_training_copies_go(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    test = "".join(f"проверка {i % 60},{i % 60 % 2}\n" for i in range(100))
    train = "".join(f"обучение {i},{i % 2}\n" for i in range(50))
    (folder / "test.csv").write_text("text,label\n" + test)
    (folder / "train.csv").write_text("text,label\nпроверка 7,0\n" + train)
    data = load(TaskConfig(dataset=str(folder)), tmp_path)
    assert data.splits["test"].texts == [f"проверка {i % 60}" for i in range(100)]
    learned = [*data.splits["train"].texts, *data.splits["validation"].texts]
    assert sorted(learned) == sorted(f"обучение {i}" for i in range(50))
    assert data.report is not None
    assert data.report.splits["test"].duplicates == 40
    assert data.report.splits["train"].copies == data.report.splits["train"].conflicts == 1


def test_given_splits_that_share_documents_are_refused_unless_allowed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train", "test"):
        rows = "".join(f"{name} {i},{i % 2},автор{i % 5}\n" for i in range(60))
        (folder / f"{name}.csv").write_text("text,label,author\n" + rows)
    fields = {"dataset": str(folder), "group_column": "author"}
    # Validation is carved from train, so that train keeps some of the five authors only.
    with pytest.raises(ValueError, match=r"\d of 5 documents \(author\) of test are in train too"):
        load(TaskConfig.model_validate(fields), tmp_path)
    allowed = TaskConfig.model_validate(fields | {"split": {"allow_shared_groups": True}})
    assert len(load(allowed, tmp_path).splits["test"].texts) == 60


def test_a_test_split_of_hidden_labels_alone_is_called_that(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    train = Dataset.from_dict(
        {"text": [f"t{i}" for i in range(20)], "label": [0, 1] * 10}, features
    )
    test = Dataset.from_dict({"text": ["a", "b"], "label": [-1, -1]}, features)
    DatasetDict({"train": train, "test": test}).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"test split .* is empty \(its 2 labels are hidden\)"):
        build_data(TaskConfig(dataset=str(tmp_path / "saved")), tmp_path)


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({}, "d08a2f080897043a"),
        ({"group_column": "document"}, "5798a603f87253b9"),
        ({"group_column": "document", "chunk_min_words": 16}, "5798a603f87253b9"),
    ],
)
def test_keys_of_data_are_what_they_were(
    csv_file: Path, tmp_path: Path, fields: dict[str, object], key: str
) -> None:
    """As version 0.1.0 gave them: another key means that every teacher is trained anew."""
    columns = {"text_column": "body", "label_column": "topic"}
    task = TaskConfig.model_validate({"dataset": str(csv_file), **columns, **fields})
    assert load(task, tmp_path).key == key


def test_the_key_of_numbered_labels_is_what_it_was(tmp_path: Path) -> None:
    rows = "".join(f"слово{i},{[10, 9, -2][i % 3]}\n" for i in range(30))
    (tmp_path / "n.csv").write_text("text,label\n" + rows)
    assert load(TaskConfig(dataset=str(tmp_path / "n.csv")), tmp_path).key == "e4350cd10c51ff7f"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,x\nb,x\nc,x\nd,y\n", r"classes with fewer documents: 'y' \(1\)"),
        ("a,x\nb,x\nc,x\n", "has one class"),
        ("a,x\n ,x\n", r"empty text in line 3 of bad\.csv"),
        ("a,x\nb,\n", r"missing label in line 3 of bad\.csv"),
        ("a,x\nb,NaN\n", r"missing label in line 3 of bad\.csv"),
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
