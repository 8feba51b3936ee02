"""Constraints: how many models meet them, and what is shown where none does."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis.rows.table import read_rows
from slurm.profile import load_profile
from sweeps.cli import follow
from sweeps.cli.render_report import print_plan, print_report
from sweeps.cli.render_status import status_view
from sweeps.definition.errors import ConfigError
from sweeps.definition.sweep import Bound, parse_sweep
from sweeps.export.choose import choose
from sweeps.jobs import finalizer
from sweeps.preflight import check
from sweeps.report.build import pareto_report
from sweeps.report.feasibility import feasibility_of, limits_of
from sweeps.report.status import read_status
from sweeps.run.directory import Run, create_run
from tests.analysis.conftest import OBJECTIVES, example_rows, write_run
from tests.sweeps.small_run import make_job

MakeRun = Callable[[float], Run]


@pytest.fixture
def make_run(tmp_path: Path, definition: dict[str, Any]) -> MakeRun:
    """Make a finished run of 40 trials whose models may have so many MB."""

    def make(max_mb: float) -> Run:
        values = {**definition, "objectives": OBJECTIVES, "report": "tables"}
        values["constraints"] = {"size_bytes": {"max": max_mb * 1e6}}
        sweep = parse_sweep(values, source="test")
        run = create_run(tmp_path / "run", sweep, load_profile("local"), tmp_path / "cache", {})
        rows = example_rows(40)
        for row in rows:
            if row["state"] == "COMPLETE" and row["kind"] != "linear":
                row["feasible"] = row["size_bytes"] <= max_mb * 1e6
        write_run(run.path, rows)
        return run

    return make


def sizes(run: Run) -> list[tuple[int, int]]:
    """Return (bytes, trial) of the models, the smallest first, read by hand."""
    rows = read_rows(run.path).dropna(subset=["trial", "size_bytes"])
    pairs = zip(rows["size_bytes"], rows["trial"], strict=True)
    return sorted((int(size), int(trial)) for size, trial in pairs)


def shown(*renderables: Any) -> str:
    """Return what these are in a wide terminal."""
    stream = io.StringIO()
    Console(file=stream, width=300, highlight=False).print(*renderables, sep="\n")
    return stream.getvalue()


def printed(report: Any) -> str:
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=300, highlight=False))
    return stream.getvalue()


def test_nothing_feasible_is_a_result_that_names_the_nearest(make_run: MakeRun) -> None:
    run = make_run(1.0)
    (smallest, trial), *_ = sizes(run)
    report = pareto_report(run)
    text = printed(report)
    assert "Pareto front: no model is on it" in text
    assert f"feasible: none of {len(sizes(run))} models (size_bytes at most 1 MB)" in text
    lines = [line for line in text.splitlines() if line.startswith("nearest: ")]
    assert [int(line.split()[2].rstrip(":")) for line in lines] == [t for _, t in sizes(run)[:3]]
    assert lines[0] == (
        f"nearest: trial {trial}: size_bytes {smallest / 1e6:.1f} MB, "
        f"{smallest / 1e6 - 1:.2g} MB over"
    )
    found = json.loads(json.dumps(report.to_json()))["feasibility"]
    assert found["nearest"][0]["misses"] == [
        {"column": "size_bytes", "at_most": 1e6, "value": smallest, "by": smallest - 1e6}
    ]
    with pytest.raises(ConfigError, match="no trial of the search meets the constraints: name one"):
        choose(read_rows(run.path), run.sweep.objectives)


def test_waiting_for_a_run_without_a_feasible_model_ends_well(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(1.0)
    monkeypatch.setattr(finalizer, "time_front", lambda *_: None)
    finalizer.finish(run, make_job(run))
    tables = json.loads((run.path / "report" / "tables.json").read_text())
    assert tables["front"] == [] and tables["feasibility"]["feasible"] == 0
    monkeypatch.setattr(follow, "follow", lambda *_: read_status(run))
    stream = io.StringIO()
    assert follow.follow_to_end(run, Console(file=stream, width=300)) == 0
    assert "nearest: trial " in stream.getvalue()


def test_the_status_counts_feasible_models(make_run: MakeRun) -> None:
    run = make_run(30.0)
    few = sum(size <= 30e6 for size, _ in sizes(run))
    status = read_status(run)
    assert 0 < few < len(sizes(run))
    text = shown(status_view(status))
    assert f"feasible: {few} of {len(sizes(run))} models (size_bytes at most 30 MB)\n" in text
    assert "nearest" not in text
    found = json.loads(json.dumps(status.to_json()))["feasibility"]
    assert (found["feasible"], found["nearest"]) == (few, [])


def test_without_constraints_nothing_is_said(run: Run) -> None:
    write_run(run.path, example_rows(4))
    assert feasibility_of(run, read_rows(run.path)) is None
    assert "feasible" not in shown(status_view(read_status(run)))


def test_before_the_first_model_nothing_is_said(make_run: MakeRun) -> None:
    run = make_run(30.0)
    for path in run.rows.iterdir():
        path.unlink()
    found = feasibility_of(run, read_rows(run.path))
    assert found is not None and found.lines() == []


def test_a_plan_says_a_constraint_with_its_unit(
    definition: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = {"size_bytes": {"max": 30e6}, "speedup_b1": {"min": 2, "max": 9}}
    monkeypatch.setattr(
        check, "load_sweep", lambda _: parse_sweep({**definition, "constraints": bounds}, source="")
    )
    monkeypatch.setattr(check, "look_at_data", lambda *_: (check.Counts(), None))
    monkeypatch.setattr(check, "_elsewhere", lambda _: {})
    monkeypatch.setattr(check, "model_config", lambda _: {})
    monkeypatch.chdir(tmp_path)
    stream = io.StringIO()
    print_plan(check.plan(Path("x"), "local"), Console(file=stream, width=100, highlight=False))
    said = [line.split(None, 1)[1] for line in stream.getvalue().splitlines() if "constr" in line]
    assert [line.strip() for line in said] == [
        "size_bytes at most 30 MB",
        "speedup_b1 at most 9 ×",
        "speedup_b1 at least 2 ×",
    ]


def test_each_end_of_a_bound_is_a_limit() -> None:
    assert [limit.on_column for limit in limits_of({"macro_f1_validation": Bound(min=0.8)})] == [
        "macro_f1_validation at least 80 %"
    ]
