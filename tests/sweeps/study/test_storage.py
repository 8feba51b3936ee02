"""A study in a database: the contract tests of the journal, and what only a database has."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.rows.table import final_attempts, read_rows
from slurm.profile import load_profile
from sweeps.definition.errors import ConfigError
from sweeps.definition.sweep import parse_sweep
from sweeps.run.directory import Run, create_run
from sweeps.study.storage import open_database, put_study_aside
from sweeps.study.study import locked_study, open_study
from tests.sweeps.database import postgresql

# The same tests again, on the `run` fixture below.
from tests.sweeps.jobs.test_worker import (
    test_a_killed_worker_leaves_an_orphan_that_goes_on_under_its_number,  # noqa: F401
    test_a_process_that_was_believed_dead_drops_its_result,  # noqa: F401
    test_a_requeued_job_goes_on_with_its_own_trial,  # noqa: F401
    test_a_row_without_a_tell_is_only_told,  # noqa: F401
    test_many_workers_never_overshoot_nor_repeat,  # noqa: F401
    test_one_worker_runs_the_budget_reference_points_first,  # noqa: F401
    test_only_one_of_many_takes_an_orphan_over,  # noqa: F401
)
from tests.sweeps.workers import check_whole, work_together


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An own database on each kind of server that is here."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    url: str = request.getfixturevalue("server")
    return url


@pytest.fixture
def definition(definition: dict[str, Any], url: str) -> dict[str, Any]:
    definition["study"]["storage"] = url
    return definition


@pytest.fixture
def run(tmp_path: Path, definition: dict[str, Any]) -> Run:
    return new_run(tmp_path / "run", definition)


def new_run(path: Path, definition: dict[str, Any]) -> Run:
    sweep = parse_sweep(definition, source="test")
    return create_run(path, sweep, load_profile("local"), path.parent / "cache", {})


def test_two_runs_of_one_name_share_a_database_and_nothing_else(
    run: Run, tmp_path: Path, definition: dict[str, Any]
) -> None:
    other = new_run(tmp_path / "elsewhere" / run.name, definition)
    work_together(run, 1)
    assert open_study(other).get_trials(deepcopy=False, states=None)[0].state.name == "WAITING"
    work_together(other, 1)
    check_whole(run, 12)
    check_whole(other, 12)


def test_a_study_that_the_database_lost_is_made_again(run: Run) -> None:
    work_together(run, 1)
    with run.lock():
        put_study_aside(run)
    check_whole(run, 12)
    with locked_study(run) as study:
        assert len(study.trials) == 12 == len(final_attempts(read_rows(run.path)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("postgresql+psycopg://u:secret@/db?host=/nowhere", "does not answer|not installed"),
        ("sqlite:////nowhere/at/all.db", "unable to open database file"),
        ("mysql+pymysql://u:secret@host/db", "one it names"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_without_the_password(
    wrong: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        open_database(wrong, 0)
    assert "secret" not in str(refused.value) and "\n" not in str(refused.value)
