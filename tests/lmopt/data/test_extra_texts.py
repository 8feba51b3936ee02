import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lmopt.config.task import TaskConfig, UnlabelledConfig
from lmopt.data.dataset import Data, Split, build_data, load_data
from lmopt.data.extra_texts import build_unlabelled, rechunk, without_held_out
from lmopt.data.sources import read_texts
from lmopt.data.tokens import load_tokens, save_tokens, tokenize
from lmopt.models.loading import load_tokenizer
from lmopt.pipeline.shared_stages import data_stage, unlabelled_stage
from lmopt.stages.context import Walk


def split_of(documents: list[list[str]]) -> Split:
    texts = [text for document in documents for text in document]
    groups = [i for i, document in enumerate(documents) for _ in document]
    return Split(texts, np.asarray([g % 2 for g in groups]), np.asarray(groups))


def long_document(number: int, sentences: int) -> list[str]:
    """Chunks of two sentences, of five words each; every word occurs once."""
    told = [" ".join(f"w{number}x{i}x{j}" for j in range(5)) + "." for i in range(2 * sentences)]
    return [" ".join(told[i : i + 2]) for i in range(0, len(told), 2)]


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(0, 5))
def test_new_chunks_are_consecutive_sentences_of_their_own_document(
    documents: int, sentences: int, seed: int
) -> None:
    split = split_of([long_document(i, sentences) for i in range(documents)])
    new = rechunk(split, 3, 10, seed)
    assert len(set(new.texts)) == len(new.texts)
    assert not set(new.texts) & set(split.texts)
    for text, label, group in zip(*new, strict=True):
        whole = " ".join(t for t, g in zip(split.texts, split.groups, strict=True) if g == group)
        assert text in whole
        assert label == group % 2
        assert re.fullmatch(r"(\w+ ?){5}(\. (\w+ ?){5})*\.", text)  # Whole sentences.
        assert 5 <= len(text.split()) <= 25
    again = rechunk(split, 3, 10, seed)
    assert new.texts == again.texts


def test_copies_and_seeds_of_new_chunks() -> None:
    split = split_of([long_document(i, 12) for i in range(6)])
    one, two = rechunk(split, 1, 10, 0), rechunk(split, 2, 10, 0)
    assert 0.4 * len(split.texts) < len(one.texts) < len(two.texts)
    assert rechunk(split, 1, 10, 1).texts != one.texts
    assert set(two.groups.tolist()) == set(range(6))
    assert rechunk(split, 0, 10, 0).texts == []


def data_of(train: list[str], held_out: list[str]) -> Data:
    splits = {
        "train": split_of([train]),
        "validation": split_of([held_out[:1]]),
        "test": split_of([held_out[1:]]),
    }
    return Data(["a", "b"], splits, "key")


def test_what_shares_thirteen_words_with_held_out_text_is_left_out() -> None:
    words = [f"w{i}" for i in range(40)]
    data = data_of(["a known text"], [" ".join(words), "Short one."])
    texts = [
        "a new text",
        "a known text",  # In the training split.
        "a new text",  # Repeated.
        "before " + " ".join(words[7:20]) + " after",  # 13 words of a held-out text.
        "before " + " ".join(words[7:19]) + " after",  # 12 of them.
        ", ".join(words[3:17]).upper(),  # Case and punctuation do not hide it.
        "short one",  # A short text, whole.
        "a short one",
    ]
    assert without_held_out(texts, data) == [0, 4, 7]


def test_short_and_unspaced_held_out_text_does_not_leak() -> None:
    held_out = ["Отличный телефон, всем советую", "这个手机非常好用，推荐"]
    data = data_of(["известный текст"], held_out)
    texts = [
        "Купил вчера: отличный телефон, всем советую!",
        "昨天收到了。这个手机非常好用，推荐给大家。",
        "Отличный магазин, всем советую",
        "这个商店很好",
    ]
    assert without_held_out(texts, data) == [2, 3]


def test_what_is_left_out_is_reported(csv_file: Path, tmp_path: Path) -> None:
    task = task_of(csv_file, unlabelled={"dataset": str(tmp_path / "more.csv")})
    build_data(task, tmp_path)
    data = load_data(tmp_path)
    train, test = data.splits["train"].texts, data.splits["test"].texts
    lines = ["новый текст", "новый текст", train[0], train[1], test[0], test[1], test[2]]
    (tmp_path / "more.csv").write_text("text\n" + "\n".join(lines))
    build_unlabelled(task, data, tmp_path)
    report = load_data(tmp_path).report
    assert report is not None
    split = report.splits["unlabelled"]
    assert (split.read, split.used, split.duplicates, split.near_duplicates) == (7, 1, 3, 3)


def task_of(csv_file: Path, **fields: object) -> TaskConfig:
    columns = {"text_column": "body", "label_column": "topic", "group_column": "document"}
    return TaskConfig.model_validate({"dataset": str(csv_file), **columns, **fields})


def test_unlabelled_text_is_chunked_and_rid_of_the_task_s_own(
    csv_file: Path, tmp_path: Path
) -> None:
    """A folder of articles: the whole data set, and one that is new."""
    texts = [line.split(",")[0] for line in csv_file.read_text().splitlines()[1:]]
    folder = tmp_path / "articles" / "deep"
    folder.mkdir(parents=True)
    (folder / "old.txt").write_text("\n".join(texts))
    (folder / "new.txt").write_text("первое новое слово тут. " * 2 + "\n\nвторое там.")
    (folder / "empty.txt").write_text(" \n")
    task = task_of(csv_file, chunk_min_words=4, unlabelled={"dataset": str(tmp_path / "articles")})
    build_data(task, tmp_path)
    data = load_data(tmp_path)
    build_unlabelled(task, data, tmp_path / "articles")
    found = load_data(tmp_path / "articles")
    assert list(found.splits) == ["unlabelled"]
    split = found.splits["unlabelled"]
    assert split.texts == ["первое новое слово тут.", "первое новое слово тут. второе там."]
    assert split.labels.tolist() == [-1, -1]
    assert len(set(split.groups.tolist())) == 1
    assert split.groups[0] > max(s.groups.max() for s in data.splits.values())
    (folder / "new.txt").unlink()
    with pytest.raises(ValueError, match="none of the 360 unlabelled texts is left") as error:
        build_unlabelled(task, data, tmp_path / "articles")
    assert "\n" not in str(error.value)


def test_documents_cut_anew_keep_their_label_and_held_out_documents_out(
    csv_file: Path, tmp_path: Path
) -> None:
    task = task_of(csv_file, chunk_min_words=16, rechunk=3)
    build_data(task, tmp_path)
    data = load_data(tmp_path)
    build_unlabelled(task, data, tmp_path)
    split = load_data(tmp_path).splits["unlabelled"]
    train = data.splits["train"]
    label_of = dict(zip(train.groups.tolist(), train.labels.tolist(), strict=True))
    assert [label_of[group] for group in split.groups.tolist()] == split.labels.tolist()
    held_out = {t for name in ("validation", "test") for t in data.splits[name].texts}
    assert len(split.texts) > 20
    assert not any(text in other for text in held_out for other in split.texts)


def test_extra_text_is_a_stage_of_its_own(csv_file: Path, tmp_path: Path) -> None:
    """Another amount of it leaves data, and so the teacher, as they are."""
    walk = Walk(tmp_path, 1)
    plain = task_of(csv_file, chunk_min_words=16)
    data = data_stage(walk, plain)
    assert unlabelled_stage(walk, plain, data) is None
    more = [task_of(csv_file, chunk_min_words=16, rechunk=n) for n in (1, 2)]
    assert {data_stage(walk, task).key for task in more} == {data.key}
    extra = [unlabelled_stage(walk, task, data) for task in more]
    assert extra[0] is not None
    assert extra[1] is not None
    assert extra[0].key != extra[1].key
    assert [time.cached for time in walk.times] == [False, True, True, False, False]


def test_texts_of_files_lines_and_tables(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("one\n\n two \n")
    assert read_texts(UnlabelledConfig(dataset=str(tmp_path / "lines.txt"))) == ["one", " two "]
    (tmp_path / "table.csv").write_text('body,label\n"NA",x\n"a, b",\n"",y\n')
    table = UnlabelledConfig(dataset=str(tmp_path / "table.csv"), text_column="body")
    assert read_texts(table) == ["NA", "a, b"]
    with pytest.raises(ValueError, match=r"no column 'text' \(task.unlabelled.text_column\)"):
        read_texts(UnlabelledConfig(dataset=str(tmp_path / "table.csv")))
    with pytest.raises(ValueError, match="no such folder or file"):
        read_texts(UnlabelledConfig(dataset=str(tmp_path / "nothing.csv")))


def test_all_txt_files_of_a_folder_are_texts(tmp_path: Path) -> None:
    for name in ("data/deep/a.txt", "other/deep/b.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    found = read_texts(UnlabelledConfig(dataset=str(tmp_path)))
    assert found == ["data/deep/a.txt", "other/deep/b.txt"]


def test_russian_texts_of_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_bytes("раз\nдва\n".encode("cp1251"))
    with pytest.raises(ValueError, match=r"not UTF-8.*task\.unlabelled\.encoding"):
        read_texts(UnlabelledConfig(dataset=str(tmp_path / "lines.txt")))
    told = UnlabelledConfig(dataset=str(tmp_path / "lines.txt"), encoding="cp1251")
    assert read_texts(told) == ["раз", "два"]
    (tmp_path / "shards").mkdir()
    for i in range(2):
        (tmp_path / "shards" / f"train-0000{i}-of-00002.jsonl").write_text(
            f'{{"text": "текст {i}"}}'
        )
    assert read_texts(UnlabelledConfig(dataset=str(tmp_path / "shards"))) == ["текст 0", "текст 1"]


def test_cutting_anew_needs_documents_that_are_cut() -> None:
    with pytest.raises(ValidationError, match="set chunk_min_words, or rechunk to 0"):
        TaskConfig(dataset="a/b", rechunk=2)


def test_tokens_of_any_split_are_kept(teacher_folder: Path, tmp_path: Path) -> None:
    tokens = tokenize(load_tokenizer(teacher_folder), ["матч", "банк поднял"], 10)
    save_tokens(tmp_path / "tokens.npz", {"unlabelled": tokens})
    loaded = load_tokens(tmp_path / "tokens.npz")
    np.testing.assert_array_equal(loaded["unlabelled"].ids, tokens.ids)
