"""Files under several writers, on a full disk, and in folders that somebody else made."""

import errno
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from slurm import local
from slurm.devcluster import cluster as devcluster
from slurm.files import (
    ForeignFolderError,
    link_new,
    open_lock_file,
    private_folder,
    temporary_name,
    write_atomic,
)
from slurm.profile import Profile
from slurm.records import Exit, read_exit, write_record
from slurm.submit import SubmissionError, submit

FORK = multiprocessing.get_context("fork")


def test_a_write_is_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    assert write_atomic(tmp_path / "a", "one")
    assert write_atomic(tmp_path / "a", b"two")
    assert not write_atomic(tmp_path / "a", "three", replace=False)
    assert write_atomic(tmp_path / "b", "four", replace=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "two", "b": "four"}


@pytest.mark.parametrize("replace", [True, False])
def test_a_full_disk_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    """The disk is full once half of the content is there."""
    (tmp_path / "a").write_text("before")

    def full(descriptor: int) -> None:
        os.ftruncate(descriptor, 1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(tmp_path / "a", "after", replace=replace)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "before"}


def test_names_differ_where_nodes_give_the_same_process_id(tmp_path: Path) -> None:
    names = {temporary_name(tmp_path / "a") for _ in range(100)}
    assert len(names) == 100
    assert all(name.parent == tmp_path and name.name.startswith(".a.") for name in names)


def test_two_nodes_with_one_process_id_write_one_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each meets the other's file in the middle of its own write."""
    real, met = os.fsync, list[str]()

    def fsync(descriptor: int) -> None:
        if not met:
            met.append("the other node")
            write_record(Exit("7", "FAILED", "other", 0, 0.0, 0.0, 0.0, 0), tmp_path)
        real(descriptor)

    monkeypatch.setattr(os, "getpid", lambda: 4711)
    monkeypatch.setattr(os, "fsync", fsync)
    write_record(Exit("7", "DONE", None, 0, 0.0, 0.0, 0.0, 0), tmp_path)
    found = read_exit("7", tmp_path)
    assert found is not None and found.state == "DONE"
    assert len(list(tmp_path.iterdir())) == 1


def _first(
    folder: Path, number: int, said: "multiprocessing.SimpleQueue[tuple[int, bool]]"
) -> None:
    said.put((number, write_atomic(folder / "a", str(number), replace=False)))


def test_only_one_of_many_writers_is_first(tmp_path: Path) -> None:
    said = FORK.SimpleQueue()
    writers = [FORK.Process(target=_first, args=(tmp_path, number, said)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    answers = dict(said.get() for _ in writers)
    (first,) = (number for number, was_first in answers.items() if was_first)
    assert (tmp_path / "a").read_text() == str(first)


def test_a_link_whose_answer_was_lost_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS made the link, the answer was lost, and the client's second try met its own link."""
    real = os.link

    def link(source: Path, target: Path) -> None:
        real(source, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", link)
    assert write_atomic(tmp_path / "a", "mine", replace=False)
    assert (tmp_path / "a").read_text() == "mine"
    monkeypatch.setattr(os, "link", real)
    (tmp_path / "t").write_text("later")
    assert not link_new(tmp_path / "t", tmp_path / "a")


def test_a_private_folder_is_made_or_made_private(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for mode in (0o777, 0o750):
        private_folder(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        folder.chmod(mode)
    private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("made", ["link", "file", "another user's"])
def test_a_folder_that_somebody_else_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    folder = tmp_path / f"lmopt-cores-{os.getuid()}"
    if made == "link":
        folder.symlink_to(victim)
    elif made == "file":
        folder.touch()
    else:
        folder.mkdir(mode=0o700)
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ForeignFolderError, match=f"{folder} must be .*: remove it"):
        local.take_cores(1)
    with pytest.raises(SubmissionError, match="must be"):
        submit(Profile(scheduler="local"), "worker", print, [()], folder=tmp_path / "j", name="t")
    assert not list(victim.iterdir())


def test_a_lock_file_empties_no_file_of_mine(tmp_path: Path) -> None:
    """What is behind a link stays, and so does what lies under the name of a lock."""
    precious = tmp_path / "thesis.tex"
    precious.write_text("years of work")
    (tmp_path / "queue.lock").symlink_to(precious)
    with pytest.raises(OSError) as refused:
        open_lock_file(tmp_path / "queue.lock")
    assert refused.value.errno == errno.ELOOP
    os.close(open_lock_file(precious))
    assert precious.read_text() == "years of work"


def test_no_configuration_is_read_from_a_cluster_that_somebody_else_made(tmp_path: Path) -> None:
    theirs, folder = tmp_path / "theirs", tmp_path / "mine"
    theirs.mkdir()
    (theirs / "cluster.json").write_text("{}")
    folder.symlink_to(theirs)
    for command in (devcluster.down, devcluster.status):
        with pytest.raises(ForeignFolderError):
            command(folder)
    with pytest.raises(ForeignFolderError):
        devcluster.up(folder, devcluster.new_config(accounting=False))
    assert (theirs / "cluster.json").exists()
