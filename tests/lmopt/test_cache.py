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

from lmopt.cache import RECORD, run_stage

# A builder in a process of its own: appends to a log, counts to 20 through its scratch folder.
WORKER = """
import sys, time
from pathlib import Path
from lmopt.cache import run_stage
cache, log, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
def build(folder, scratch):
    with log.open("a") as file:
        file.write("begin\\n")
    scratch.mkdir(exist_ok=True)
    counter = scratch / "counter"
    start = int(counter.read_text()) if counter.exists() else 0
    for step in range(start, 20):
        time.sleep(pause)
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
    cached = sorted(worker.communicate(timeout=60)[0].strip() for worker in workers)
    assert cached == ["False", "True", "True", "True"]
    assert log.read_text() == "begin\n"


def test_a_killed_builder_is_followed_by_one_that_resumes(tmp_path: Path) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    killed = start(cache, log, 0.1)
    counter = tmp_path / "cache" / "count"
    deadline = time.monotonic() + 30
    while not any(int(p.read_text()) >= 3 for p in counter.glob("*.scratch/counter")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    waiting = start(cache, log, 0)  # Waits for the lock of the one that is about to die.
    time.sleep(0.3)
    assert log.read_text() == "begin\n"
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert waiting.communicate(timeout=60)[0].strip() == "False"
    (result,) = counter.glob("*/result")
    assert int(result.read_text().split()[1]) >= 3
    assert sorted(p.suffix for p in counter.iterdir()) == ["", ".lock"]


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
