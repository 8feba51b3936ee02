"""Compare the start of the command line with that of an empty command of the same library."""

import resource
import subprocess
import sys

from benchmarks.ratio import Ratio, in_turn

EMPTY = "import typer; app = typer.Typer(); app.command()(lambda: None); app()"


def start_ratio(rounds: int) -> Ratio:
    """Return the processor time of `lmopt --help` over that of an empty command's `--help`."""
    return in_turn(
        lambda: _processor_seconds("-m", "sweeps.cli", "--help"),
        lambda: _processor_seconds("-c", EMPTY, "--help"),
        rounds,
    )


def _processor_seconds(*arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
