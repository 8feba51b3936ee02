"""Notebooks hold no functions and no output, and run on rows as the worker writes them."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "analysis" / "notebooks").glob("*.ipynb"))


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
def test_a_notebook_runs_on_a_run(
    path: Path, make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LMOPT_RUN", str(make_run(24)))
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=120, resources=resources).execute()
    shown = [
        output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])
    ]
    assert any("image/svg+xml" in data for data in shown)
    tables = " ".join(data.get("text/html", "") for data in shown)
    for name in ("baseline", "distillation", "quantization", "linear", "best combination"):
        assert name in tables
    assert not [
        o for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "stream"
    ]
