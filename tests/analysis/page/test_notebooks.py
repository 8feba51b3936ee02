"""Notebooks hold no functions and no output, and run on rows as the worker writes them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from analysis.page.notebooks import run_notebook

NOTEBOOKS = sorted((Path(__file__).parents[3] / "analysis" / "notebooks").glob("*.ipynb"))
METHODS = ("baseline", "distillation", "pruning", "quantization", "linear", "best combination")
TOLD = {
    "01_pareto_front": (*METHODS, "knee"),
    "02_methods": (*METHODS, "unstructured pruning", "claimed"),
    "03_search": ("DivergedError", "out of memory"),  # what failed, and why
}
FIGURES = {"01_pareto_front": 2, "02_methods": 3, "03_search": 5}  # of a run with one seed


def test_the_first_notebook_is_there() -> None:
    assert NOTEBOOKS[0].name == "01_pareto_front.ipynb"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_functions_and_output(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [c for c in code if "parameters" in c.metadata.get("tags", [])]
    for cell in code:
        assert not cell.outputs
        assert cell.execution_count is None
        assert not [
            line for line in cell.source.splitlines() if line.startswith(("def ", "class "))
        ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_the_run_that_the_environment_names(
    path: Path, make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMOPT_RUN", str(make_run(24)))
    cells = run_notebook(path, {}).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    shown = [output.get("data", {}) for output in outputs]
    assert sum("image/svg+xml" in data for data in shown) == FIGURES[path.stem]
    tables = " ".join(data.get("text/html", "") for data in shown)
    assert not [name for name in TOLD[path.stem] if name not in tables]
    assert not [output for output in outputs if output.output_type == "stream"]


def test_signals_are_the_process_s_own_again(tmp_path: Path) -> None:
    """A job that is cancelled after its report still leaves its exit record."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("runs = []", metadata={"tags": ["parameters"]})]
    )
    (tmp_path / "one.ipynb").write_text(nbformat.writes(notebook), encoding="utf-8")
    reader, writer = os.pipe2(os.O_NONBLOCK)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    mine, wakeup = signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(writer)
    try:
        run_notebook(tmp_path / "one.ipynb", {"runs": []})
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.set_wakeup_fd(wakeup) == writer
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGTERM, before)
        os.close(reader)
        os.close(writer)
