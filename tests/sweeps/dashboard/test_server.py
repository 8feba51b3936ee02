"""The dashboard: the same study, read-only, following the run, and drawn by a real browser."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import optuna
import pytest
from optuna.trial import TrialState

from analysis.rows.table import read_rows
from lmopt.methods.recipe import Recipe
from sweeps.dashboard import server as dashboard
from sweeps.dashboard.server import listen, serve
from sweeps.dashboard.study_copy import copy_study
from sweeps.definition.errors import ConfigError
from sweeps.definition.sweep import parse_sweep
from sweeps.jobs import worker
from sweeps.run import claims
from sweeps.run.directory import Run
from sweeps.study.study import open_study
from tests import browser
from tests.sweeps.small_run import fake_outcome, fake_prepared, make_job

FAILS = 6  # this trial


@pytest.fixture
def run(run: Run, definition: dict[str, Any]) -> Run:
    """A fresh run whose large models are not feasible."""
    definition["constraints"] = {"size_bytes": {"max": 400_000}}
    return replace(run, sweep=parse_sweep(definition, source="test"))


@pytest.fixture
def work(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Be the worker of the run, in this process."""
    job = make_job(run)
    started: list[Recipe] = []

    def run_recipe(prepared: Any, recipe: Recipe, *, cache: Path, **_: Any) -> Any:
        started.append(recipe)
        if len(started) == FAILS + 1:
            raise RuntimeError("loss is nan at step 7: lower learning_rate")
        return fake_outcome(recipe, cache)

    monkeypatch.setattr(worker, "open_run", lambda _: run)
    monkeypatch.setattr(worker, "this_job", lambda: job)
    monkeypatch.setattr(worker, "load_prepared", lambda *_: fake_prepared())
    monkeypatch.setattr(worker, "run_recipe", run_recipe)
    return lambda: worker.work(str(run.path), 0, run.profile.job("worker"))


@contextmanager
def served(run: Run) -> Iterator[int]:
    """Serve the dashboard of a run in a thread; yields its port."""
    with listen(run, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """Return status and text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def trials(port: int) -> list[dict[str, Any]]:
    """Return the trials as a page gets them."""
    status, text = ask(port, "/api/studies/0")
    assert status == 200
    found: list[dict[str, Any]] = json.loads(text)["trials"]
    return found


def copied(run: Run) -> optuna.Study:
    """Return the copy as Optuna reads it."""
    return optuna.load_study(study_name=run.name, storage=copy_study(run))


def test_the_copy_is_the_study(run: Run, work: Callable[[], None]) -> None:
    work()
    study, copy = open_study(run), copied(run)
    assert copy.directions == study.directions
    assert [t.state for t in copy.trials] == [t.state for t in study.trials]
    assert copy.trials[FAILS].state == TrialState.FAIL
    for ours, theirs in zip(copy.trials, study.trials, strict=True):
        assert (ours.values, ours.params) == (theirs.values, theirs.params)
        feasible = [value <= 0 for value in ours.system_attrs.get("constraints", [])]
        assert feasible == [value <= 0 for value in theirs.constraints.values()]
        seconds = (ours.datetime_start - theirs.datetime_start).total_seconds()
        assert abs(seconds) < 60
    assert copy.metric_names == [
        "accuracy_validation (share)", "size_bytes (bytes)", "speedup_b1 (×)",
    ]  # fmt: skip


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Return every file below a folder with its time and bytes."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_a_run_is_never_written_to(run: Run, work: Callable[[], None]) -> None:
    work()
    before = contents(run.path)
    with run.lock(), served(run) as port:  # a worker may hold the study for as long as it likes
        assert len(trials(port)) == run.trials
        for method, path in (
            ("PUT", "/api/studies/0/note"),
            ("POST", "/api/studies/0/rename"),
            ("DELETE", "/api/studies/0"),
        ):
            status, text = ask(port, path, method)
            assert status == 403 and "to read" in json.loads(text)["reason"]
        assert len(trials(port)) == run.trials
    assert contents(run.path) == before


def test_notes_say_the_numbers_and_lead_to_row_and_log(run: Run, work: Callable[[], None]) -> None:
    work()
    row = read_rows(run.path).set_index("trial").loc[7]
    (run.path / row["log_path"]).write_text("trial 7 attempt 0: what the job said\n")
    with served(run) as port:
        notes = [trial["note"]["body"] for trial in trials(port)]
        assert "reference point: baseline" in notes[0]
        accuracy, error = 100 * row["accuracy_test"], 100 * row["accuracy_test_se"]
        assert f"test accuracy {accuracy:.1f} ± {error:.1f} %" in notes[7]
        assert (
            f"interval {row['speedup_b32_low']:.1f}× to {row['speedup_b32_high']:.1f}×" in notes[7]
        )
        assert "loss is nan at step 7" in notes[FAILS] and "accuracy" not in notes[FAILS]
        assert "`trials/000007-00.parquet`" in notes[7]
        links = dict(re.findall(r"\[(\w+)\]\((.*?)\)", notes[7]))
        _, text = ask(port, links["row"])
        assert re.search(rf"^size_bytes +{row['size_bytes']} bytes$", text, re.MULTILINE)
        assert "what the job said" in ask(port, links["log"])[1]
        for path in ("/lmopt/row/99", "/lmopt/log/99"):
            status, text = ask(port, path)
            assert status == 404 and "trial 99" in text


def test_a_running_sweep_is_followed(
    run: Run, work: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "REFRESH_S", 0.0)
    monkeypatch.setattr(dashboard, "REST", 0.0)
    with served(run) as port:
        assert trials(port) == []
        work()
        assert len(trials(port)) == run.trials


def test_a_trial_whose_job_is_gone_runs_until_the_run_is_over(
    run: Run, work: Callable[[], None]
) -> None:
    work()
    owner = claims.newest(run, 3)
    assert owner is not None
    claims.take(run, replace(owner, attempt=1, job_id="local-next"))
    run.row_path(3, 0).unlink()
    assert copied(run).trials[3].state == TrialState.RUNNING
    with served(run) as port:
        assert "running as job local-next" in trials(port)[3]["note"]["body"]
        assert "has no row yet" in ask(port, "/lmopt/row/3")[1]
    (run.path / "finished.json").write_text("{}")
    assert copied(run).trials[3].state == TrialState.FAIL


def test_only_this_machine_is_answered(run: Run) -> None:
    with listen(run, 0) as server:
        assert server.server_address[0] == "127.0.0.1"


def command(run: Run, *arguments: str) -> list[str]:
    """Return `lmopt dashboard` as it runs here."""
    line = [
        sys.executable,
        "-P",
        "-m",
        "sweeps.cli",
        "dashboard",
        str(run.path),
        "--no-browser",
    ]
    return [*line, *arguments]


def test_a_taken_port_is_one_line(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            command(run, "--port", str(port)), capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert str(port) in done.stderr and "--port" in done.stderr


def test_without_the_extra_it_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'lmopt[dashboard]'")):
        serve(run, 0, browser=False)


def test_ctrl_c_is_how_it_ends(run: Run) -> None:
    process = subprocess.Popen(
        command(run, "--port", "0"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        # A job in the background ignores Ctrl-C, and its children too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    said = process.stdout.readline()
    port = re.search(r"http://127\.0\.0\.1:(\d+)/", said)
    assert port and ask(int(port[1]), "/api/studies")[0] == 200
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_a_browser_draws_the_front(run: Run, work: Callable[[], None], tmp_path: Path) -> None:
    work()
    with served(run) as port:
        url = f"http://127.0.0.1:{port}/dashboard/studies/0"
        page = browser.dom(url, tmp_path)
        trial = browser.dom(f"{url}/trials?numbers=7", tmp_path)
        picture = plt.imread(browser.screenshot(url, tmp_path))
    plot = page.split('id="graph-pareto-front"')[1].split("js-plotly-plot")[0]
    assert plot.count('class="point"') == run.trials - 1  # one failed
    # Inside the front's axes, without its colour bars: axes and grid are grey, points are not.
    colours = picture[170:600, 460:1060, :3]
    assert ((colours.max(axis=2) - colours.min(axis=2)) > 0.3).sum() > 40
    assert "accuracy_validation (share)" in page and "size_bytes (bytes)" in page
    assert 'href="/lmopt/row/7"' in trial and "test accuracy" in trial
