"""A study, claims or rows that were removed or torn: what is left makes them again."""

from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import TrialState

from analysis.rows.table import read_rows
from lmopt.methods.recipe import Recipe
from sweeps.jobs import finalizer, worker
from sweeps.run import claims
from sweeps.run.directory import Run, open_run
from sweeps.study.attempt_rows import read_attempt
from sweeps.study.rebuild import rebuild_study
from sweeps.study.study import open_study
from tests.sweeps.small_run import make_job
from tests.sweeps.workers import check_whole, kill_at_trial, work_together


def test_a_lost_journal_is_made_again_from_the_rows(run: Run, tmp_path: Path) -> None:
    work_together(run, 1, kill_at_trial(tmp_path / "killed"))
    before = [(t.number, t.state, t.values, t.params) for t in open_study(run).trials]
    run.journal.unlink()
    after = [(t.number, t.state, t.values, t.params) for t in open_study(run).trials]
    assert after[: len(before)] == before
    work_together(run, 2)
    check_whole(run, 12)


@pytest.mark.parametrize("damage", [b"not json\n", b'{"op_code": 4}{"op_code": 4}\n'])
def test_a_journal_that_cannot_be_read_is_put_aside(run: Run, damage: bytes) -> None:
    work_together(run, 1)
    lines = run.journal.read_bytes().splitlines(keepends=True)
    run.journal.write_bytes(b"".join([*lines[:20], damage, *lines[20:]]))
    check_whole(open_run(run.path), 12)
    assert list(run.path.glob("study.journal.broken-*"))


def test_a_torn_claim_does_not_stop_the_sweep(run: Run) -> None:
    claim = worker.next_attempt(run, make_job(run), run.profile.job("worker"), worker=0)
    assert claim is not None
    next(iter(run.claims.iterdir())).write_text('{"number": 0, "att')
    work_together(run, 2)
    check_whole(run, 12)


def test_a_claim_that_cannot_be_read_is_nobody_s_to_take(run: Run) -> None:
    """A disk's error says nothing of its owner, who may live."""
    claim = worker.next_attempt(run, make_job(run), run.profile.job("worker"), worker=0)
    assert claim is not None
    path = next(iter(run.claims.iterdir()))
    path.unlink()
    path.mkdir()  # Reading it fails, as on a disk that does not answer.
    with pytest.raises(IsADirectoryError):
        worker.next_attempt(run, make_job(run), run.profile.job("worker"), worker=0)
    assert claims.numbers(run) == {claim.number}


def test_a_torn_claim_of_a_reference_point_keeps_its_place_in_the_budget(run: Run) -> None:
    """Rebuilt without it, the point would be queued once more and the budget overspent."""
    work_together(run, 1)
    names = [trial.user_attrs.get("reference") for trial in open_study(run).trials]
    (run.claims / "000001-00.json").write_text('{"number": 1, "att')
    run.journal.unlink()
    assert [trial.user_attrs.get("reference") for trial in open_study(run).trials] == names
    work_together(run, 1)
    check_whole(run, 12)


def test_a_torn_claim_of_a_search_point_is_read_from_its_row(run: Run) -> None:
    work_together(run, 1)
    before = [(trial.params, trial.values) for trial in open_study(run).trials]
    (run.claims / "000011-00.json").write_text("")
    run.journal.unlink()
    assert [(trial.params, trial.values) for trial in open_study(run).trials] == before
    check_whole(run, 12)


def test_a_number_of_which_nothing_is_left_fails_with_a_row(run: Run) -> None:
    work_together(run, 1)
    (run.claims / "000011-00.json").write_text("")
    run.row_path(11, 0).unlink()
    run.journal.unlink()
    assert open_study(run).trials[11].state == TrialState.FAIL
    work_together(run, 1)
    check_whole(run, 12)
    assert "nobody knows" in read_rows(run.path).set_index("trial").loc[11, "error"]


def test_a_journal_torn_under_a_worker_does_not_stop_it(run: Run) -> None:
    """By a colleague that is killed as it writes, each time anew."""

    def tear(recipe: Recipe) -> None:
        with run.lock(), run.journal.open("a") as file:
            file.write('{"op_code": 4, "worker_')

    work_together(run, 2, tear)
    check_whole(run, 12)
    assert not list(run.path.glob("study.journal.broken-*"))


def test_a_journal_removed_under_a_worker_is_made_again(run: Run) -> None:
    def remove(recipe: Recipe) -> None:
        with run.lock():
            run.journal.unlink(missing_ok=True)

    work_together(run, 2, remove)
    check_whole(run, 12)


DAMAGE = {
    "empty": lambda content: b"",
    "torn": lambda content: content[: len(content) // 2],
    "no footer": lambda content: content[:-8] + bytes(8),
    "another file": lambda content: b"<html>502 Bad Gateway</html>",
}


@pytest.fixture(params=DAMAGE.values(), ids=DAMAGE.keys())
def damage(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_bytes(request.param(path.read_bytes()))

    return damage


def test_a_damaged_row_of_a_finished_trial_is_put_aside_and_the_trial_run_again(
    run: Run, damage: Callable[[Path], None]
) -> None:
    """Optuna knows a result that no row holds any more: it would be missing in the report."""
    work_together(run, 1)
    damage(run.row_path(7, 0))
    with pytest.warns(UserWarning, match=r"000007-00.parquet is damaged .* counts as lost"):
        (lost,) = finalizer.heal(run)
    assert (lost.claim.number, lost.cause) == (7, "damaged")
    assert (run.rows / "000007-00.parquet.damaged").exists()
    work_together(run, 2)
    check_whole(run, 12)
    attempts = read_rows(run.path).query("trial == 7")
    assert list(attempts["state"]) == ["LOST", "COMPLETE"]
    assert attempts["lost_cause"].iloc[0] == "damaged"
    assert "its row could not be read" in attempts["error"].iloc[0]


@pytest.mark.filterwarnings("ignore:.*is damaged:UserWarning")
def test_a_damaged_row_stops_no_rebuild(run: Run, damage: Callable[[Path], None]) -> None:
    work_together(run, 1)
    damage(run.row_path(7, 0))
    damage(run.row_path(0, 0))
    with run.lock():
        assert rebuild_study(run) == 12
    states = [trial.state for trial in open_study(run).trials]
    assert [n for n, state in enumerate(states) if state == TrialState.RUNNING] == [0, 7]
    work_together(run, 1)
    check_whole(run, 12)


@pytest.mark.filterwarnings("ignore:.*is damaged:UserWarning")
def test_a_damaged_row_of_a_lost_attempt_stops_no_worker(
    run: Run, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    work_together(run, 1, kill_at_trial(tmp_path / "killed"))
    (lost,) = finalizer.heal(run)
    damage(run.row_path(lost.claim.number, 0))
    work_together(run, 2)
    check_whole(run, 12)
    attempts = read_rows(run.path).query(f"trial == {lost.claim.number}")
    assert list(attempts["lost_cause"].dropna()) == ["damaged"]


def test_a_row_that_the_disk_does_not_give_is_not_damaged(run: Run) -> None:
    """A stale handle says nothing of the row: it must not be written off."""
    work_together(run, 1)
    path = run.row_path(7, 0)
    content = path.read_bytes()
    path.unlink()
    path.mkdir()  # Reading it fails, as on a disk that does not answer.
    with pytest.raises(IsADirectoryError):
        read_attempt(run, 7, 0)
    path.rmdir()
    path.write_bytes(content)
    check_whole(run, 12)
