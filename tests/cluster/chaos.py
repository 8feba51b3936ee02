"""Small sweeps under random faults on a private Slurm, for as long as asked.

    python -m tests.cluster.chaos --minutes 10 --seed 0

Prints how many faults of which kind were survived; exit code 1 at the first sweep that lost,
doubled or left anything, with its seed and logs.
"""

import argparse
import os
import sys
from pathlib import Path

import pytest


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10, help="0: one sweep")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first sweep; then one more each"
    )
    options = parser.parse_args()
    os.environ["LMOPT_CHAOS_MINUTES"] = str(options.minutes)
    os.environ["LMOPT_CHAOS_SEED"] = str(options.seed)
    test = Path(__file__).with_name("test_chaos.py")
    return int(pytest.main(["-q", "-s", "-m", "chaos", "--timeout=0", "--no-header", str(test)]))


if __name__ == "__main__":
    sys.exit(main())
