"""The study: proposals, budget, storage."""

import random
from itertools import product
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from sweeps.definition.space import grid, grid_size
from sweeps.definition.sweep import parse_sweep
from sweeps.run.directory import Run
from sweeps.study.proposals import derive_seed, propose
from sweeps.study.storage import repair_torn_tail
from sweeps.study.study import enqueue_references, open_study, start_point, tell

SAMPLERS = ["tpe", "random", "nsga2"]


def new_study() -> optuna.Study:
    sampler = optuna.samplers.RandomSampler(seed=0)
    return optuna.create_study(directions=["maximize", "minimize", "maximize"], sampler=sampler)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_point_of_a_grid_is_proposed_once_and_then_none(
    definition: dict[str, Any], sampler: str
) -> None:
    definition["study"]["sampler"] = sampler
    sweep = parse_sweep(definition, source="x")
    study, rng = new_study(), random.Random(0)
    keys, points = [], []
    while (point := propose(study, sweep, seed=derive_seed(len(keys)))) is not None:
        trial = start_point(study, sweep, point)
        assert trial.params == point.params
        values = [rng.random(), rng.random(), rng.random()]
        tell(study, trial.number, values=values, constraints={"c": -1.0})
        keys.append(point.key)
        points.append(tuple(point.params[name] for name in ("layers", "temperature", "bits")))
    assert sorted(points) == sorted(product([1, 2, 3], [1.0, 2.0, 4.0], [32, 8, 4, 2]))
    assert len(set(keys)) == grid_size(sweep.search) == 36
    assert [trial.number for trial in study.trials] == list(range(36))


def test_grid_lists_each_point_once(definition: dict[str, Any]) -> None:
    definition["search"]["sparsity"] = {"type": "float", "low": 0.0, "high": 0.6, "step": 0.1}
    space = parse_sweep(definition, source="x").search
    names = ("layers", "temperature", "bits", "sparsity")
    points = [tuple(round(point[name], 6) for name in names) for point in grid(space)]
    sparsities = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    every = product([1, 2, 3], [1.0, 2.0, 4.0], [32, 8, 4, 2], sparsities)
    assert sorted(points) == sorted(every)
    assert grid_size(space) == 3 * 3 * 4 * 7
    assert max(point["sparsity"] for point in grid(space)) <= 0.6, "never past the end"


def test_the_sampler_learns_from_what_was_told(definition: dict[str, Any]) -> None:
    """TPE on a space with one good corner must find it more often than chance."""
    definition["search"] = {
        "temperature": {"type": "float", "low": 1.0, "high": 9.0},
        "alpha": {"type": "float", "low": 0.0, "high": 1.0},
    }
    definition["objectives"] = {"accuracy_validation": "maximize"}
    sweep = parse_sweep(definition, source="x")
    study = optuna.create_study(direction="maximize")
    for index in range(80):
        point = propose(study, sweep, seed=derive_seed(index))
        assert point is not None
        trial = start_point(study, sweep, point)
        tell(study, trial.number, values=[-abs(point.params["temperature"] - 3)])
    late = [trial.params["temperature"] for trial in study.trials[-40:]]
    assert sum(abs(value - 3) < 1 for value in late) >= 20  # by chance: 10 of 40


def test_seeds_differ_between_workers_and_trials() -> None:
    seeds = {derive_seed(0, worker, trial) for worker in range(50) for trial in range(50)}
    assert len(seeds) == 2500


def test_reference_points_are_queued_once(run: Run) -> None:
    study = open_study(run)
    enqueue_references(study, run.sweep)
    again = open_study(run)
    waiting = again.get_trials(states=(TrialState.WAITING,))
    assert [t.user_attrs["reference"] for t in waiting] == list(run.sweep.references())


def test_a_torn_last_line_is_cut_off_and_the_study_goes_on(run: Run) -> None:
    study = open_study(run)
    count, whole = len(study.trials), run.journal.read_bytes()
    with run.journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker_id": "torn')
    assert len(open_study(run).trials) == count
    assert run.journal.read_bytes() == whole
    open_study(run).enqueue_trial({})
    assert len(open_study(run).trials) == count + 1


def test_repair_leaves_a_whole_journal_alone(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    assert repair_torn_tail(journal) == 0
    journal.write_bytes(b'{"a": 1}\n{"b": 2}\n')
    assert repair_torn_tail(journal) == 0
    assert journal.read_bytes() == b'{"a": 1}\n{"b": 2}\n'
