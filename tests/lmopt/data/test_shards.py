from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmopt.config.task import TaskConfig
from lmopt.data.dataset import build_data, load_data
from lmopt.data.shards import files_by_split, shard_of
from lmopt.data.sources import read_rows


def make(folder: Path, *names: str) -> Path:
    """A folder with csv files, ten texts each, which say in which file they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        rows = "".join(f"{name} {i},{'ab'[i % 2]}\n" for i in range(10))
        (folder / name).write_text(f"text,label\n{rows}")
    return folder


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["train-00001-of-00002.csv", "train-00000-of-00002.csv"],
            {"all": ["train-00000-of-00002.csv", "train-00001-of-00002.csv"]},
        ),
        (
            ["train-00000-of-00001-a09b74b3ef.csv", "dev.csv", "test-1.csv", "test-0.csv"],
            {
                "train": ["train-00000-of-00001-a09b74b3ef.csv"],
                "validation": ["dev.csv"],
                "test": ["test-0.csv", "test-1.csv"],
            },
        ),
        (["part-00001.csv", "part-00000.csv"], {"all": ["part-00000.csv", "part-00001.csv"]}),
        (["reviews.csv"], {"all": ["reviews.csv"]}),
        (["train.csv.gz", "dev.tsv"], {"train": ["train.csv.gz"], "validation": ["dev.tsv"]}),
        (
            ["train-00000.csv", ".train.csv", "TEST.CSV"],
            {"train": ["train-00000.csv"], "test": ["TEST.CSV"]},
        ),
    ],
)
def test_shards_are_joined_in_order(
    tmp_path: Path, names: list[str], expected: dict[str, list[str]]
) -> None:
    make(tmp_path, *names)
    found = files_by_split(tmp_path)
    assert {split: [file.name for file in files] for split, files in found.items()} == expected


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["train.csv", "dev.csv", "validation.csv"], "validation split: dev.csv, validation.csv"),
        (["train.csv", "train.tsv"], "2 files for the train split: train.csv, train.tsv; keep one"),
        (["train.csv", "train-00000-of-00001.csv"], "2 files for the train split"),
        (["train-0-of-2.csv", "train-1-of-3.csv"], "2 files for the train split"),
        (["train-0-of-2.csv", "train-2-of-2.csv", "train-9-of-2.csv"], "3 files for the train"),
        (["train-0-of-3.csv", "train-2-of-3.csv"], r"1 of 3 shards of the train .*number 1"),
        (["train-00001-of-00002.csv"], "1 of 2 shards of the train split are missing"),
        (["train-0.csv", "train-2.csv", "test.csv"], "1 of 3 shards of the train split"),
        (["train.csv", "reviews.csv"], "reviews.csv is no split: call the files train"),
        (["a.csv", "b.csv"], "a.csv is no split"),
    ],
)
def test_files_that_cannot_be_one_split_each_are_refused_by_name(
    tmp_path: Path, names: list[str], said: str
) -> None:
    make(tmp_path, *names)
    with pytest.raises(ValueError, match=said) as error:
        files_by_split(tmp_path)
    assert "\n" not in str(error.value)


@given(st.integers(1, 9), st.randoms())
def test_any_order_of_all_shards_is_the_order_of_their_numbers(count: int, random: object) -> None:
    names = [f"train-{i:05d}-of-{count:05d}.parquet" for i in range(count)]
    assert [shard_of(Path(name)).number for name in sorted(names)] == list(range(count))
    assert all(shard_of(Path(name)).of == count for name in names)


def test_all_rows_of_all_shards_are_read_once(tmp_path: Path) -> None:
    make(tmp_path / "in", "train-00000-of-00002.csv", "train-00001-of-00002.csv")
    build_data(TaskConfig(dataset=str(tmp_path / "in")), tmp_path)
    splits = load_data(tmp_path).splits
    assert sorted(text for split in splits.values() for text in split.texts) == sorted(
        f"train-0000{shard}-of-00002.csv {i}" for shard in range(2) for i in range(10)
    )
    one = TaskConfig(dataset=str(tmp_path / "in" / "train-00001-of-00002.csv"))
    assert len(read_rows(one).rows["all"].texts) == 10  # A file that is named is all there is.


def test_a_clone_from_the_hub_is_read_from_its_data_folder(tmp_path: Path) -> None:
    make(tmp_path / "data", "train-00000-of-00001.csv", "test-00000-of-00001.csv")
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "dataset_infos.json").write_text('{"default": {}}')
    assert list(read_rows(TaskConfig(dataset=str(tmp_path))).rows) == ["test", "train"]
