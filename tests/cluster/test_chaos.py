"""Faults at random while small sweeps run, for as long as asked: `make chaos`.

In the test-suite one sweep meets ten of them (test_sweep.py). tests/cluster/chaos.py asks for more.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from sweeps.report.status import read_status
from sweeps.run.directory import open_run
from tests.cluster.faults import FAULTS, Target
from tests.cluster.small_sweep import PATIENCE, Workspace, check_whole, describe

if TYPE_CHECKING:
    from tests.cluster.conftest import Cluster

pytestmark = pytest.mark.cluster

MINUTES = float(os.environ.get("LMOPT_CHAOS_MINUTES", "0"))
SEED = int(os.environ.get("LMOPT_CHAOS_SEED", "0"))
FAULTS_A_SWEEP = 6
LATE = ("kill -9 of the finalizer", "scancel of the finalizer")
SWEEP_S = 480 * PATIENCE
RETRIES = {"lost": 10, "node_fail": 10, "out_of_memory": 10, "timeout": 10, "memory_growth": 1.1}


@pytest.mark.chaos
def test_sweeps_survive_random_faults(cluster: Cluster, workspace: Workspace) -> None:
    survived: Counter[str] = Counter()
    deadline = time.monotonic() + 60 * MINUTES
    sweep = 0
    while sweep == 0 or time.monotonic() < deadline:
        seed = SEED + sweep
        met = one_sweep(cluster, workspace, seed)
        survived.update(met)
        sweep += 1
        print(f"\nsweep {sweep} (seed {seed}) survived {', '.join(met)}", flush=True)
    print(f"\n{sweep} sweeps survived {survived.total()} faults:")
    for name, count in survived.most_common():
        print(f"{count:5d}  {name}")


def one_sweep(cluster: Cluster, workspace: Workspace, seed: int) -> list[str]:
    """Run a sweep under faults drawn by `seed`; check it and return the faults that it met."""
    rng = random.Random(seed)
    changes = {"recipe": {"epochs": 8, "seed": 1000 + seed}, "resources": {"workers": 3}}
    profile = {"trials_per_job": rng.choice([None, 1]), "retries": RETRIES}
    run_dir = workspace.submit(f"chaos{seed}", changes, profile, held=True)
    target = Target(cluster, workspace, run_dir, rng)
    met: list[str] = []
    late = rng.choice([None, *LATE])  # training is over when there is a finalizer to hit
    deadline = time.monotonic() + SWEEP_S
    try:
        while not (run_dir / "finished.json").exists():
            assert time.monotonic() < deadline, "the sweep did not come to its end"
            said = read_status(open_run(run_dir)).error
            assert said is None, f"it needs somebody: {said}"
            time.sleep(rng.uniform(0.5, 6))
            if len(met) < FAULTS_A_SWEEP:
                name = rng.choice(list(FAULTS))
                met += [name] if FAULTS[name](target) else []
                if len(met) == FAULTS_A_SWEEP:
                    workspace.release()
            elif late is not None and FAULTS[late](target):
                met, late = [*met, late], None
        check_whole(run_dir, cluster)
    except BaseException as error:
        print(f"seed {seed}, after {', '.join(met) or 'no fault'}: {error}\n{describe(run_dir)}")
        print(f"again: python -m tests.cluster.chaos --minutes 0 --seed {seed}")
        raise
    return met
