import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lmopt.stages import cache
from lmopt.stages.cache import RECORD, hold, last_used, remove_stage, run_stage

# A builder in a process of its own: appends to a log, counts to 20 through its scratch folder.
WORKER = """
import sys, time
from pathlib import Path
from lmopt.stages.cache import run_stage
cache, log, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
def build(folder, scratch):
    with log.open("a") as file:
        file.write("begin\\n")
    scratch.mkdir(exist_ok=True)
    counter = scratch / "counter"
    start = int(counter.read_text()) if counter.exists() else 0
    for step in range(start, 20):
        time.sleep(pause if step >= 3 else 0)
        counter.with_suffix(".new").write_text(str(step + 1))
        counter.with_suffix(".new").rename(counter)
    (folder / "result").write_text(f"from {start}")
print(run_stage(cache, "count", build, version=1, parameters={}).cached)
"""


def start(cache: Path, log: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(cache), str(log), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_workers_that_want_the_same_stage_build_it_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    workers = [start(tmp_path / "cache", log, 0.02) for _ in range(4)]
    cached = sorted(worker.communicate(timeout=300)[0].strip() for worker in workers)
    assert cached == ["False", "True", "True", "True"]
    assert log.read_text() == "begin\n"


def test_a_killed_builder_is_followed_by_one_that_resumes(tmp_path: Path) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    killed = start(cache, log, 600)  # It hangs in its fourth step until it is killed.
    counter = tmp_path / "cache" / "count"
    deadline = time.monotonic() + 300
    while not any(int(p.read_text()) == 3 for p in counter.glob("*.scratch/counter")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    waiting = start(cache, log, 0)  # Waits for the lock of the one that is about to die.
    time.sleep(0.3)
    assert log.read_text() == "begin\n"
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert waiting.communicate(timeout=300)[0].strip() == "False"
    (result,) = counter.glob("*/result")
    assert result.read_text() == "from 3"
    assert sorted(p.suffix for p in counter.iterdir()) == ["", ".lock", ".used"]


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    def build(folder: Path, scratch: Path) -> None:
        scratch.mkdir()
        (folder / "half").write_text("x")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        run_stage(tmp_path, "full", build, version=1, parameters={})
    assert [p.suffix for p in (tmp_path / "full").iterdir()] == [".lock"]
    stage = run_stage(tmp_path, "full", lambda f, s: None, version=1, parameters={})
    assert not stage.cached


def test_control_c_keeps_the_scratch(tmp_path: Path) -> None:
    def build(folder: Path, scratch: Path) -> None:
        scratch.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(tmp_path, "work", build, version=1, parameters={})
    assert sorted(p.suffix for p in (tmp_path / "work").iterdir()) == [".lock", ".scratch"]


def test_the_key_depends_on_everything_that_is_named(tmp_path: Path) -> None:
    base: dict[str, Any] = {"version": 1, "parameters": {"a": 1, "b": 2}, "parents": ["x"]}
    same = base | {"parameters": {"b": 2, "a": 1}}
    others = [
        base | {"version": 2},
        base | {"parameters": {"a": 1, "b": 3}},
        base | {"parents": ["y"]},
    ]
    key = run_stage(tmp_path, "s", lambda f, s: None, **base).key
    assert run_stage(tmp_path, "s", lambda f, s: None, **same).cached
    keys = {run_stage(tmp_path, "s", lambda f, s: None, **other).key for other in others}
    assert len(keys) == 3
    assert key not in keys
    record = json.loads((tmp_path / "s" / key / RECORD).read_text())
    assert (record["parameters"], record["parents"]) == ({"a": 1, "b": 2}, ["x"])


# A reader in a process of its own: loads the stage, says so, reads it when it is told to.
READER = """
import sys
from pathlib import Path
from lmopt.stages.cache import run_stage
stage = run_stage(Path(sys.argv[1]), "s", lambda f, s: None, version=1, parameters={})
print(stage.cached, flush=True)
sys.stdin.readline()
print((stage.path / "result").read_text())
"""


def make_stage(folder: Path, **parameters: int) -> Path:
    def build(inside: Path, scratch: Path) -> None:
        (inside / "result").write_text("whole")

    return run_stage(folder, "s", build, version=1, parameters=parameters).path


def test_a_stage_in_use_is_not_removed_and_one_out_of_use_is(tmp_path: Path) -> None:
    path = make_stage(tmp_path)
    command = [sys.executable, "-c", READER, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdin is not None and reader.stdout is not None
        assert reader.stdout.readline() == "True\n"
        assert not remove_stage(path) and path.exists()
        assert reader.communicate("go on\n", timeout=300)[0] == "whole\n"
    assert remove_stage(path) and not path.exists() and not hold(path)
    assert not list(path.parent.glob("*.gone"))
    assert make_stage(tmp_path) == path and (path / "result").exists()  # Built again.
    assert remove_stage(path) and remove_stage(path)  # Removing is safe to repeat.


def test_a_killed_reader_holds_nothing(tmp_path: Path) -> None:
    path = make_stage(tmp_path)
    command = [sys.executable, "-c", READER, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None and reader.stdout.readline() == "True\n"
        assert not remove_stage(path)
        reader.kill()
    assert remove_stage(path)


def test_a_long_worker_holds_its_newest_stages_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MAX_HELD", 2)
    paths = [make_stage(tmp_path, number=number) for number in range(4)]
    assert list(cache._held) == paths[2:]
    hold(paths[2])
    make_stage(tmp_path, number=9)
    assert paths[2] in cache._held and paths[3] not in cache._held


def test_a_stage_knows_when_it_was_last_asked_for(tmp_path: Path) -> None:
    path = make_stage(tmp_path)
    os.utime(f"{path}.used", (5, 5))
    assert last_used(path) == 5
    hold(path)
    assert last_used(path) > 5


def test_a_cache_that_cannot_be_written_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_stage(tmp_path)

    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(cache.os, "open", refuse)
    assert make_stage(tmp_path) == path


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_a_stage_has_the_modes_of_new_files(umask: int, tmp_path: Path) -> None:
    """Whoever shares the cache reads weights too; safetensors writes them for one user alone."""

    def build(folder: Path, _: Path) -> None:
        (folder / "part").mkdir(mode=0o700)
        for path in (folder / "weights", folder / "part" / "more"):
            path.touch(mode=0o600)

    before = os.umask(umask)
    try:
        stage = run_stage(tmp_path, "shared", build, version=1, parameters={}, parents=[])
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in [stage.path, *stage.path.rglob("*")]}
    folders = {path: mode for path, mode in modes.items() if path.is_dir()}
    assert set(folders.values()) == {0o777 & ~umask}
    weights = [mode for path, mode in modes.items() if path.name in ("weights", "more")]
    assert weights == [0o666 & ~umask] * 2
