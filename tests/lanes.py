"""The test suite in lanes that run at once: `python -m tests.lanes [--quick | --all]`.

The main lane has a worker for each core. The tests on a private Slurm mostly wait, so they run
beside it in two lanes, each with a Slurm of its own; their output is kept in files and printed when
all lanes are done. At the end stand the number of tests, the reason of each skip, and the minutes.
The exit code is 0 only if every lane was green.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / ".pytest_cache" / "lanes"
MAX_WORKERS = 4
# A file stays with one worker, so that its tests share what they make.
SHARED_OUT = ["--dist=loadfile", "--no-loadscope-reorder"]
JOBS = "tests/cluster/test_jobs.py"


@dataclass(frozen=True, eq=False)
class Lane:
    """A pytest session of its own."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def report(self) -> Path:
        """The JUnit file that pytest writes."""
        return REPORTS / f"{self.name}.xml"

    @property
    def output(self) -> Path:
        """The file that holds the output of a lane in the background."""
        return REPORTS / f"{self.name}.log"

    def start(self, output: BinaryIO | None = None) -> subprocess.Popen[bytes]:
        """Start the lane; its output goes to this file, if there is one.

        It is no child of the terminal: Ctrl-C reaches it once, from `run`.
        """
        self.report.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-q", *self.arguments]
        return subprocess.Popen(
            [*command, f"--junitxml={self.report}"], cwd=ROOT, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **self.environment},
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT if output else None,
            # A job in the background ignores Ctrl-C, and its children too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip


def lanes(which: str) -> list[Lane]:
    """Return the lanes of a run, the one in the foreground last."""
    left_out = "not chaos and not pages" + ("" if which == "all" else " and not square")
    extra = ["--hypothesis-profile=new"] if which == "all" else []
    workers = ["-n", str(min(MAX_WORKERS, len(os.sched_getaffinity(0)))), *SHARED_OUT]
    if which == "quick":
        return [Lane("quick", [*workers, "-m", f"not slow and not cluster and {left_out}"])]
    # Beside a busy main lane everything there takes longer, and so do the limits of all waits.
    patience = {"LMOPT_TEST_PATIENCE": os.environ.get("LMOPT_TEST_PATIENCE", "3")}
    cluster = ["-m", f"cluster and {left_out}"]
    return [
        Lane("jobs", [*cluster, JOBS], patience),
        Lane("sweeps", [*cluster, "tests/cluster", f"--ignore={JOBS}"], patience),
        Lane("main", [*workers, "-m", f"not cluster and {left_out}", *extra]),
    ]


@dataclass(frozen=True)
class Tally:
    """What a lane did."""

    passed: int = 0
    failed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped
        )


def read_tally(report: Path) -> Tally:
    """Count the tests of a JUnit file; a lane that left none has failed."""
    try:
        cases = ElementTree.parse(report).getroot().iter("testcase")
    except (OSError, ElementTree.ParseError):
        return Tally(failed=1)
    passed, failed, skipped = 0, 0, Counter[str]()
    for case in cases:
        reason = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif reason is not None:
            skipped[reason.get("message", "").removeprefix("Skipped: ")] += 1
        else:
            passed += 1
    return Tally(passed, failed, skipped)


def summary(tally: Tally, minutes: Mapping[str, float]) -> str:
    """Return the last lines of the output."""
    total = tally.passed + tally.failed + tally.skipped.total()
    each = ", ".join(f"{name} {spent:.1f}" for name, spent in minutes.items())
    lines = [
        f"{total} tests: {tally.passed} passed, {tally.failed} failed, "
        f"{tally.skipped.total()} skipped; {max(minutes.values()):.1f} minutes ({each})"
    ]
    lines += [f"NOT TESTED HERE, {count}: {why}" for why, count in sorted(tally.skipped.items())]
    return "\n".join(lines)


def run(which: str) -> int:
    """Run the lanes side by side; return the exit code."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    started, minutes = time.monotonic(), dict[str, float]()
    *behind, front = lanes(which)
    running: dict[Lane, subprocess.Popen[bytes]] = {}
    try:
        for lane in behind:
            with lane.output.open("wb") as output:
                running[lane] = lane.start(output)
        running[front] = front.start()
        while len(minutes) < len(running):
            time.sleep(0.2)
            for lane, process in running.items():
                if process.poll() is not None:
                    minutes.setdefault(lane.name, (time.monotonic() - started) / 60)
    except KeyboardInterrupt:
        _interrupt(list(running.values()))
        raise
    for lane in behind:
        print(f"\n{f' {lane.name} ':=^80}\n{lane.output.read_text(errors='replace')}")
    tally = sum((read_tally(lane.report) for lane in running), Tally())
    print(f"\n{' all lanes ':=^80}\n{summary(tally, minutes)}", flush=True)
    green = not tally.failed and all(process.returncode == 0 for process in running.values())
    return 0 if green else 1


def _interrupt(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Let each lane stop what it has started, a Slurm for example."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    for process in processes:
        process.wait()


def _stop(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.lanes", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_const", dest="which", const="quick")
    which.add_argument("--all", action="store_const", dest="which", const="all")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    try:
        sys.exit(run(options.which or "usual"))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
