"""Entry point of the measuring process: `python -m lmopt.measurement SPEC.json`."""

import json
import sys
import time
from pathlib import Path

import numpy as np

from lmopt.environment import refuse_telemetry
from lmopt.measurement.evaluation import evaluate_spec
from lmopt.measurement.process import die_with_parent, pin
from lmopt.measurement.timing import time_spec


def main(path: str) -> None:
    """Do what the spec asks for and write the arrays it yields."""
    die_with_parent()
    refuse_telemetry()
    spec = json.loads(Path(path).read_text())
    cores = pin(spec["threads"])
    reported = time.monotonic()

    def report(fraction: float) -> None:
        nonlocal reported
        if time.monotonic() - reported >= 1:
            reported = time.monotonic()
            print(f"progress {fraction:.4f}", flush=True)

    work = {"evaluate": evaluate_spec, "latency": time_spec}[spec["what"]]
    np.savez(spec["output"], **work(spec, report))
    del cores


if __name__ == "__main__":
    main(sys.argv[1])
