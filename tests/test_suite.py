"""The suite itself: lanes, their sum and exit code, loud skips, and what its workers share."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import absent as absence
from tests import lanes
from tests.lanes import Lane, Tally, read_tally, summary
from tests.made_once import made_once

ROOT = Path(__file__).parents[1]
MIXED = """
import pytest

def test_good(): pass
def test_bad(): assert False
@pytest.fixture
def broken(): raise ValueError
def test_error(broken): pass
@pytest.mark.parametrize("number", [1, 2])
def test_skipped(number): pytest.skip("NO SUCH THING HERE")
"""


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Lane]:
    """Make a lane of one file, which no configuration of this project reaches."""
    monkeypatch.setattr(lanes, "REPORTS", tmp_path)
    monkeypatch.setattr(lanes, "ROOT", tmp_path)

    def make(name: str, text: str) -> Lane:
        (tmp_path / f"test_{name}.py").write_text(text)
        return Lane(name, ["-p", "no:cacheprovider", f"test_{name}.py"])

    return make


def test_a_lane_is_counted_and_its_reasons_are_told(lane: Callable[[str, str], Lane]) -> None:
    mixed = lane("mixed", MIXED)
    assert mixed.start().wait() == 1
    tally = read_tally(mixed.report)
    assert tally == Tally(1, 2, Counter({"NO SUCH THING HERE": 2}))
    both = summary(tally + Tally(5), {"main": 2.0, "other": 12.5})
    assert both.splitlines() == [
        "10 tests: 6 passed, 2 failed, 2 skipped; 12.5 minutes (main 2.0, other 12.5)",
        "NOT TESTED HERE, 2: NO SUCH THING HERE",
    ]


@pytest.mark.parametrize(
    ("front", "behind", "code"),
    [
        ("def test(): pass", "def test(): pass", 0),
        ("def test(): pass", "def test(): assert False", 1),
        ("def test(): assert False", "def test(): pass", 1),
        ("def test(): pass", "import no_such_module", 1),
        ("def test(): pass", "import os; os._exit(0)", 1),  # it has no report
    ],
)
def test_every_lane_must_be_green(
    front: str, behind: str, code: int, lane: Callable[[str, str], Lane],
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    both = [lane("behind", behind), lane("front", front)]
    monkeypatch.setattr(lanes, "lanes", lambda _: both)
    assert lanes.run("usual") == code
    said = capfd.readouterr().out
    assert " behind =" in said and said.index(" behind =") < said.index(" all lanes =")


def test_an_interrupt_lets_every_lane_clean_up(tmp_path: Path) -> None:
    """As Ctrl-C does, or a CI system that ends a job."""
    for name in ("behind", "front"):
        (tmp_path / f"test_{name}.py").write_text(
            "import pathlib, pytest, time\n"
            "@pytest.fixture\ndef cluster():\n"
            f"    pathlib.Path('{name}.up').touch()\n    yield\n"
            f"    pathlib.Path('{name}.down').touch()\n"
            "def test(cluster): time.sleep(600)\n"
        )
    code = (
        "import pathlib, signal, sys\nfrom tests import lanes\n"
        "signal.signal(signal.SIGTERM, lanes._stop)\n"
        "lanes.ROOT = lanes.REPORTS = pathlib.Path.cwd()\n"
        "lanes.lanes = lambda _: [lanes.Lane(n, [f'test_{n}.py']) for n in ('behind', 'front')]\n"
        "try: lanes.run('usual')\nexcept KeyboardInterrupt: print('interrupted')\n"
    )
    both = {name: tmp_path / f"{name}.up" for name in ("behind", "front")}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    while not all(path.exists() for path in both.values()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert "interrupted" in said
    assert all(path.with_suffix(".down").exists() for path in both.values())


def test_every_test_is_in_one_lane() -> None:
    """Only tests/cluster has cluster tests: no other folder is collected for their lanes."""
    marks = {lane.name: lane.arguments[lane.arguments.index("-m") + 1] for lane in lanes.lanes("")}
    assert marks["jobs"] == marks["sweeps"] == f"cluster and {marks['main'].split(' and ', 1)[1]}"
    assert marks["main"].startswith("not cluster and ")
    marked = [p for p in (ROOT / "tests").rglob("test_*.py") if "mark.cluster" in p.read_text()]
    assert {path.parent.name for path in marked} - {"tests"} == {"cluster"}
    assert (ROOT / lanes.JOBS).exists()


@pytest.mark.parametrize(
    ("ci", "user", "debian", "red"),
    [
        ("true", 0, True, True),
        ("true", 1000, True, False),
        ("true", 0, False, False),
        (None, 0, True, False),
        ("false", 0, True, False),
    ],
)
def test_what_the_set_up_must_install_is_red_where_it_is_missing(
    ci: str | None, user: int, debian: bool, red: bool,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    version = tmp_path / "debian_version"
    if debian:
        version.touch()
    monkeypatch.setattr(absence, "DEBIAN", version)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.delenv("CI", raising=False)
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    expected: Any = pytest.fail.Exception if red else pytest.skip.Exception
    with pytest.raises(expected, match="NO SLURM HERE"):
        absence.absent("NO SLURM HERE")


def test_no_library_reports_that_it_is_tested() -> None:
    """OpenVINO falls back to a stub only if it was imported after the refusal."""
    from openvino.tools.ovc import telemetry_utils

    assert telemetry_utils.tm.__name__.endswith("telemetry_stub")
    assert sys.modules["openvino_telemetry"] is None


def test_workers_make_what_they_share_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def factory(worker: str) -> Any:
        return SimpleNamespace(getbasetemp=lambda: tmp_path / worker)

    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").touch()

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ValueError("no luck")

    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    with pytest.raises(ValueError, match="no luck"):
        made_once(factory("gw0"), "model", fail)
    folders = [made_once(factory(worker), "model", make) for worker in ("gw1", "gw0")]
    assert folders == [tmp_path / "model"] * 2 and len(made) == 1
    assert [path.name for path in folders[0].iterdir()] == ["file"]
    monkeypatch.delenv("PYTEST_XDIST_WORKER")
    (tmp_path / "alone").mkdir()
    assert made_once(factory("alone"), "model", make) == tmp_path / "alone" / "model"
