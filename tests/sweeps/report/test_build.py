"""What `lmopt pareto`, `report`, `compare` and `status` show of finished rows."""

import csv
import io
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from analysis.rows.table import read_rows
from analysis.tables.methods_and_front import front_table
from slurm.profile import load_profile
from slurm.records import Exit, write_record
from sweeps.cli.follow import print_disk_line
from sweeps.cli.render_report import print_comparison, print_report
from sweeps.cli.render_status import SPARKS, sparkline, status_view
from sweeps.cli.render_tables import front_tables, methods_table
from sweeps.definition.errors import ConfigError
from sweeps.definition.sweep import parse_sweep
from sweeps.jobs import finalizer as finalize
from sweeps.report import status as run_status
from sweeps.report.active_time import active_seconds
from sweeps.report.build import are_repeats, page_of, pareto_report, report_folder
from sweeps.report.compare import compare, to_json
from sweeps.report.status import _left, read_status
from sweeps.run.directory import Run, create_run
from sweeps.run.rounds import Round, rounds, write_round
from tests.analysis.conftest import OBJECTIVES, example_rows, write_run
from tests.sweeps.command import lmopt
from tests.sweeps.small_run import make_job

MakeRun = Callable[..., Run]
WAITING = {"WAITING": 10, "LOST": 0, "RUNNING": 0}


@pytest.fixture
def make_run(tmp_path: Path, definition: dict[str, Any]) -> MakeRun:
    """Make a run that holds example rows: `make_run("tpe", trials=40, seed=1, study={...})`."""

    def make(name: str = "bbc", trials: int = 40, seed: int = 0, **changes: Any) -> Run:
        values = {**definition, "objectives": OBJECTIVES, **changes}
        sweep = parse_sweep({**values, "name": name}, source="test")
        folder = tmp_path / "runs" / name
        run = create_run(folder, sweep, load_profile("local"), tmp_path / "cache", {})
        if trials:
            write_run(folder, example_rows(trials, seed=seed))
        return run

    return make


def printed(show: Callable[[Console], None], *, terminal: bool = False, width: int = 80) -> str:
    """Return what is shown on a console of 80 columns."""
    stream = io.StringIO()
    show(Console(file=stream, width=width, highlight=False, force_terminal=terminal))
    return stream.getvalue()


def test_the_tables_fit_80_columns_and_are_plain_when_piped(make_run: MakeRun) -> None:
    run, other = make_run("tpe"), make_run("random", seed=1)
    report, found = pareto_report(run), compare(run, other)
    for text in (
        printed(lambda console: print_report(report, console)),
        printed(lambda console: print_comparison(found, console)),
        printed(lambda console: console.print(status_view(read_status(run)))),
    ):
        assert max(len(line) for line in text.splitlines() if "/" not in line) <= 80  # but paths
        assert "\x1b" not in text and "…" not in text


@pytest.mark.parametrize("width", [80, 60, 40])
def test_a_narrow_terminal_has_fewer_columns_but_whole_numbers(
    make_run: MakeRun, width: int
) -> None:
    """With drops of two digits and errors of three; the same numbers as where there is room."""
    report = pareto_report(make_run())
    wide = {"accuracy_drop_test": -0.2571, "accuracy_drop_test_se": 0.1271, "size_share": 1.0}
    report = replace(
        report,
        methods=report.methods.assign(**wide, accuracy_test_se=0.1271),
        front=report.front.assign(**wide, speedup_b1=123.4, speedup_b32=234.5),
    )

    def show(console: Console) -> None:
        console.print(methods_table(report.methods), *front_tables(report.front, title="Front"))

    narrow = printed(show, width=width).splitlines()
    whole = printed(show, width=1000).splitlines()
    assert any("-25.7 ± 12.7" in line for line in whole)
    assert any("too narrow for: " in line for line in narrow)
    for text in (line.rstrip() for line in narrow if "±" in line):
        beside = {f"{line}  "[len(text) :][:2] for line in whole if line.startswith(text)}
        assert "  " in beside, text  # it ends where a column of the whole table does
    assert max(map(len, narrow)) <= width


def test_short_heads_have_a_legend(make_run: MakeRun) -> None:
    run, other = make_run("tpe"), make_run("random", seed=1)
    report, found, status = pareto_report(run), compare(run, other), read_status(run)
    measured = ["acc: test accuracy", "b1: speed-up at batch 1"]
    searched = ["lay: layers", "T: temperature", "α: alpha", "spar: sparsity"]
    for show, said in (
        (lambda console: print_report(report, console), [*measured, *searched]),
        (lambda console: console.print(status_view(status)), [*measured, *searched]),
        (lambda console: print_comparison(found, console), [*measured, *searched]),
    ):
        text = " ".join(printed(show).split())
        assert [part for part in said if text.count(part) != 1] == []
        assert "bits: " not in text  # its head is its name


def test_what_is_piped_has_no_edge(make_run: MakeRun) -> None:
    done = lmopt("pareto", make_run().path, env={"COLUMNS": "40"})
    (header,) = (line for line in done.stdout.splitlines() if line.split()[:1] == ["method"])
    assert header.split()[-2:] == ["b1", "b32"]


@pytest.mark.slow
def test_the_finalizer_leaves_the_page_without_being_asked(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one test of the default, which runs the notebooks; all others say `report: tables`."""
    run = make_run()
    assert run.sweep.report == "page"
    monkeypatch.setattr(finalize, "time_front", lambda *_: None)
    finalize.finish(run, make_job(run))
    report = run.path / "report"
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "Take trial" in page and 'class="failed"' not in page
    assert {"tables.json", "pareto_front.png"} <= {path.name for path in report.iterdir()}
    assert list((report / "figures").glob("*.svg"))


def test_colour_is_for_terminals_and_no_color_takes_it_away(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = read_status(make_run())
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")

    def shown() -> str:
        return printed(lambda console: console.print(status_view(status)), terminal=True)

    assert "\x1b[32m" in shown()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in shown()


@pytest.mark.parametrize("width", [1, 5, 40])
def test_a_sparkline_runs_from_the_lowest_to_the_highest(width: int) -> None:
    values = [0.1 + 0.01 * step for step in range(40)]
    line = sparkline(values, width)
    assert len(line) == min(width, len(values))
    assert line == "".join(sorted(line, key=SPARKS.index))
    if width > 1:
        assert line[-1] == SPARKS[-1]
    assert sparkline([0.5, 0.5], 10) == SPARKS[0] * 2


@pytest.mark.parametrize(
    ("known", "seconds"),
    [
        (["baseline"], None),  # nothing was trained yet
        (["baseline", "reference"], 100 * 10 / 2),
        (["baseline", "reference", "search"], 30 * 10 / 2),
    ],
)
def test_the_time_left_is_told_from_trials_like_those_that_come(
    make_run: MakeRun, known: list[str], seconds: float | None
) -> None:
    rows = pd.DataFrame(example_rows(40))
    rows["seconds_total"] = rows["kind"].map({"reference": 100.0, "search": 30.0, "linear": 1.0})
    rows.loc[rows["method"].eq("baseline"), "seconds_total"] = 2.0
    kind = rows["kind"].mask(rows["method"].eq("baseline"), "baseline")
    left = _left(make_run(trials=0), rows[kind.isin([*known, "linear"])], WAITING, 2)
    assert left == (seconds and pytest.approx(seconds))


def test_the_status_shows_how_the_hypervolume_grew(make_run: MakeRun) -> None:
    status = read_status(make_run())
    history = status.hypervolume_history
    assert history == sorted(history) and history[-1] == status.hypervolume > 0
    text = printed(lambda console: console.print(status_view(status)))
    assert f"{status.hypervolume:.4f} of 1" in text
    assert sparkline(history, 40) in text
    cut = printed(lambda console: console.print(status_view(status, front_rows=2)))
    assert "more: lmopt pareto" in cut


def test_the_status_shows_the_queue_and_what_needs_somebody(make_run: MakeRun) -> None:
    jobs = {"RUNNING": 8, "PENDING": 1, "DONE": 3}
    status = replace(read_status(make_run()), jobs=jobs, error=None)
    text = printed(lambda console: console.print(status_view(status)))
    assert "jobs: 1 pending, 8 running\n" in text and "stopped" not in text
    held = replace(status, jobs={"HELD": 1, "PENDING": 99}, error="job 7 is held")
    text = printed(lambda console: console.print(status_view(held)))
    assert "needs you: job 7 is held" in text and "jobs: 99 pending, 1 held" in text
    assert "stopped" not in text and max(map(len, text.splitlines())) <= 80
    dead = replace(held, jobs={"LOST": 1})
    text = printed(lambda console: console.print(status_view(dead)))
    assert "stopped: job 7" in text and "jobs:" not in text


def a_round(run: Run) -> None:
    """Submitted an hour ago, as jobs of Slurm."""
    submitted = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    jobs = {"prepare": ["1"], "workers": ["2_0"], "finalize": ["3"], "guards": ["4"]}
    write_round(run, Round(number=0, submitted_utc=submitted, **jobs))


def test_a_slurm_that_does_not_answer_is_said_and_a_finished_run_stays_finished(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # no squeue there
    run = make_run()
    a_round(run)
    status = read_status(run)
    assert status.jobs == {"PENDING": 4} and not status.finished
    text = printed(lambda console: console.print(status_view(status)))
    assert "Slurm does not answer, jobs are as last known: squeue is not on this machine" in text
    (run.path / "finished.json").touch()
    status = read_status(run)
    assert status.finished and status.jobs == {} and status.error is None


def test_a_run_whose_trials_all_failed_says_why(make_run: MakeRun) -> None:
    run = make_run(trials=0)
    rows = [row for row in example_rows(40) if row["state"] == "FAIL"]
    write_run(run.path, rows)
    (run.path / "finished.json").touch()
    assert read_status(run).error == (
        "all trials failed, the last with DivergedError: loss is not finite; "
        "correct the sweep and submit it under another name"
    )


def test_the_time_of_a_run_that_stands_still_does_not_grow(make_run: MakeRun) -> None:
    run = make_run(trials=0)
    a_round(run)
    for job in ("1", "2_0", "3"):
        write_record(Exit(job, "DONE", None, 0, time.time() - 1800, 1.0, 1.0, 1), run.jobs)
    active = partial(active_seconds, run, rounds(run), read_rows(run.path))
    assert active(goes_on=False) == pytest.approx(1800, abs=300)
    assert active(goes_on=True) == pytest.approx(3600, abs=300)


def test_core_hours_are_checked_against_sacct(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(run_status, "sacct_core_hours", lambda jobs: asked.append(jobs) or 2.0)
    status = read_status(make_run(), with_sacct=True)
    assert status.core_hours_sacct is None and asked == []  # no job is Slurm's
    assert run_status._by_sacct(["local-1", "7", "8_1"]) == 2.0 and asked == [["7", "8_1"]]
    for own, warned in ((2.0, False), (1.9, False), (1.0, True)):
        one = replace(status, core_hours_allocated=own, core_hours_sacct=2.0)
        text = printed(lambda console, one=one: console.print(status_view(one)))
        assert ("sacct says 2.00 core-hours" in text) == warned
    assert "core_hours_sacct" in status.to_json()


def test_a_finished_run_says_what_it_has_on_disk(make_run: MakeRun) -> None:
    run = make_run()
    text = printed(lambda console: print_disk_line(run, console))
    assert text.startswith("disk ") and "artifacts kept" in text


def test_pareto_takes_conditions_and_orders(make_run: MakeRun) -> None:
    run = make_run()
    rows = read_rows(run.path)
    whole = pareto_report(run)
    pd.testing.assert_frame_equal(whole.front, front_table(rows, OBJECTIVES))
    few = pareto_report(run, where="bits <= 4", sort="size_bytes")
    assert set(few.front["param_bits"].dropna().astype(int)) <= {2, 3, 4}
    assert few.front["size_bytes"].is_monotonic_increasing
    assert few.title == "Pareto front of the models where bits <= 4"
    assert len(few.methods) == len(whole.methods)
    assert {path.suffix for path in few.figures} == {".png", ".svg", ".pdf"}


def test_a_run_that_cannot_be_written_to_has_its_tables(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    (run.path / "report").touch()  # nothing can be written into that, not even by root
    report = pareto_report(run)
    text = printed(lambda console: print_report(report, console))
    assert "Pareto front" in text and not report.figures
    assert "The figure was not written (" in text and "--figure" in text
    assert json.loads(json.dumps(report.to_json()))["figures"] == []
    assert pareto_report(run, tmp_path / "front").figures
    with pytest.raises(OSError):
        pareto_report(run, run.path / "report" / "front")
    with pytest.raises(ConfigError, match="--out"):
        page_of([run], report_folder([run]))


def test_csv_and_json_are_the_front_and_nothing_else(make_run: MakeRun) -> None:
    run = make_run()
    front = front_table(read_rows(run.path), OBJECTIVES)
    done = lmopt("pareto", run.path, "--sort", "size_bytes", "--csv")
    records = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [int(row["trial"]) for row in records] == list(
        front.sort_values("size_bytes", kind="stable")["trial"]
    )
    found = json.loads(lmopt("pareto", run.path, "--json").stdout)
    assert [row["trial"] for row in found["front"]] == list(front["trial"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pareto", "{bbc}", "--where", "bitz <= 4"], "did you mean 'bits'?"),
        (["pareto", "{bbc}", "--where", "bits > 64"], "loosen the condition"),
        (["pareto", "{bbc}", "--sort", "sizebytes"], "did you mean 'size_bytes'?"),
        (["report", "{empty}"], "no finished trial yet"),
        (["compare", "{bbc}", "{bbc}"], "is given twice; name two runs"),
        (["compare", "{bbc}", "{two}"], "objectives.speedup_b1 is maximize in"),
        (["compare", "{two}", "{bbc}"], "objectives.speedup_b1 is not set in"),
        (["pareto", "{bbc}", "--csv", "--json"], "one of --csv and --json"),
        (["report", "{bbc}", "{two}"], "report them one by one"),
    ],
)
def test_a_mistake_is_one_line(make_run: MakeRun, arguments: list[str], said: str) -> None:
    two = {"accuracy_validation": "maximize", "size_bytes": "minimize"}
    paths = {"bbc": make_run().path, "empty": make_run("empty", trials=0).path}
    paths["two"] = make_run("two", objectives=two).path
    done = lmopt(*(argument.format(**paths) for argument in arguments))
    assert done.returncode == 2 and not done.stdout, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert said in done.stderr


@pytest.mark.parametrize("name", ["run.json", "sweep.yaml", "profile.yaml"])
def test_a_damaged_file_of_a_run_is_named(make_run: MakeRun, name: str) -> None:
    run = make_run().path
    (run / name).write_text('{"a": [')
    done = lmopt("pareto", run)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ") and name in done.stderr


def test_a_torn_row_is_a_warning_of_one_line(make_run: MakeRun) -> None:
    run = make_run().path
    (run / "trials" / "000999-00.parquet").write_bytes(b"half a row")
    done = lmopt("pareto", run)
    assert done.returncode == 0 and done.stdout, done.stderr
    assert re.fullmatch(
        r"(warning: skipped .*999-00\.parquet, not a result row: .*\n)+", done.stderr
    )


def test_two_processor_types_are_never_mixed_silently(make_run: MakeRun) -> None:
    run = make_run(trials=0)
    rows = example_rows(40)
    for number, row in enumerate(rows):
        if row["state"] == "COMPLETE":
            row["timed_alone"] = True
        if row["kind"] == "search" and number % 3 == 0:
            row["processor"] = "a slower one"
    write_run(run.path, rows)
    report = pareto_report(run)
    text = printed(lambda console: print_report(report, console))
    assert "Timed on 2 processor types" in " ".join(text.split())
    for processor in ("a processor", "a slower one"):
        assert f"Pareto front, {processor}" in text
        here = report.front[report.front["processor"].eq(processor)]
        assert len(here)
    assert json.loads(json.dumps(report.to_json()))["warning"].startswith("Timed on 2")


def test_a_comparison_is_json_with_who_dominates_whom(make_run: MakeRun) -> None:
    first, second = make_run("tpe"), make_run("random", seed=1)
    found = json.loads(json.dumps(to_json(compare(first, second))))
    assert list(found["runs"]) == ["tpe", "random"]
    for run in found["runs"].values():
        behind = [point for point in run["front"] if point["dominated_by"] is not None]
        assert run["dominated"] == len(behind)
    other = {**first.sweep.model_dump(mode="json")["task"], "max_length": 99}
    with pytest.raises(ConfigError, match=r"task\.max_length is .* and 99 in"):
        compare(first, make_run("longer", task=other))
    taught = {**other, "max_length": first.sweep.task.max_length, "unlabelled": {"dataset": "x"}}
    compare(first, make_run("taught", task=taught))  # More text changes no number of the task.


def test_runs_that_differ_in_seeds_only_are_repeats(make_run: MakeRun) -> None:
    study = {"trials": 12, "sampler": "tpe"}
    runs = [make_run(f"run{seed}", 4, study={**study, "seed": seed}) for seed in (1, 2)]
    other = make_run("other", 4, study={**study, "seed": 1, "sampler": "random"})
    assert are_repeats(runs)
    assert not are_repeats([*runs, other]) and not are_repeats(runs[:1])
    assert report_folder(runs[:1]) == runs[0].path / "report"
    assert report_folder(runs) == runs[0].path.parent / "report-run1-run2"
