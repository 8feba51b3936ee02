"""The page needs nothing but itself, answers first, and outlives a notebook that fails."""

import re
import shlex
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest

from analysis.page import page as page_module
from analysis.page.page import Page, build_page, notebook_html
from analysis.selection.recommendation import best_combination
from tests.analysis.conftest import OBJECTIVES, example_rows, write_run

NAMES = ("01_pareto_front", "02_methods", "03_search")


class Links(HTMLParser):
    """Everything that a browser would fetch or run, and the ids on the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.anchors: list[str] = []
        self.ids: set[str] = set()
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.add(str(value))
            elif name == "href":
                self.anchors.append(str(value))
            elif name in ("src", "srcset", "data", "poster", "action"):
                self.fetched.append(str(value))


@pytest.fixture(scope="module", name="built")
def _built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Page, list[str]]:
    """A run in a folder as users name them, its page, and what was said on the way."""
    folder = tmp_path_factory.mktemp("it's here")
    run = write_run(folder / "my run", example_rows(40, rich=True))
    said: list[str] = []
    return run, build_page([run], folder / "report", OBJECTIVES, progress=said.append), said


@pytest.mark.slow
def test_the_page_needs_no_network_and_no_other_file(
    built: tuple[Path, Page, list[str]],
) -> None:
    text = built[1].path.read_text(encoding="utf-8")
    found = Links(text)
    assert not found.tags & {"script", "link", "iframe", "object", "embed"}
    assert found.fetched and all(source.startswith("data:image/") for source in found.fetched)
    assert found.anchors == [f"#{name}" for name in NAMES]
    assert set(NAMES) <= found.ids
    style = "".join(re.findall(r"<style.*?</style>", text, re.DOTALL))
    assert "@import" not in style and "url(" not in style


@pytest.mark.slow
def test_the_answer_comes_first_with_the_command_that_takes_it(
    built: tuple[Path, Page, list[str]],
) -> None:
    from html import unescape

    from analysis.rows.table import read_rows

    run, page, _ = built
    text = page.path.read_text(encoding="utf-8")
    best, _ = best_combination(read_rows(run), OBJECTIVES)
    trial = best["trial"].item()
    command = shlex.split(unescape(re.findall(r"<pre>(lmopt export.*?)</pre>", text)[0]))
    assert command == ["lmopt", "export", str(run), "winner", "--trial", str(trial)]
    assert text.index(f"Take trial {trial}") < text.index("<section")
    assert text.index("How sure is that?") < text.index("<section")
    for said in ("95 % interval", "knee", "TF-IDF", "Hypervolume"):
        assert said in text


@pytest.mark.slow
def test_figures_are_files_of_three_kinds_and_the_notebooks_are_kept(
    built: tuple[Path, Page, list[str]],
) -> None:
    _, page, said = built
    assert said == list(NAMES) and not page.failures
    stems = {path.stem for path in page.figures}
    assert {"front_1", "tradeoff_1", "attainment_1", "hypervolume", "claims_1"} <= stems
    assert {(p.stem, p.suffix) for p in page.figures} == {
        (stem, kind) for stem in stems for kind in (".png", ".svg", ".pdf")
    }
    for name in NAMES:
        nbformat.validate(nbformat.read(page.path.parent / f"{name}.ipynb", as_version=4))
    text = page.path.read_text(encoding="utf-8")
    assert "import" not in re.sub(r"data:image/[^\"]*", "", text.split("</style>")[1]).split()


def test_a_notebook_that_fails_is_named_and_the_rest_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path, parameters: Mapping[str, Any]) -> Any:
        if path.stem == "02_methods":
            raise RuntimeError("the kernel <died>\nand more")
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"of {path.stem}")])

    monkeypatch.setattr(page_module, "run_notebook", fails)
    run = write_run(tmp_path / "run", example_rows(24))
    old = tmp_path / "report" / "figures" / "old.png"
    old.parent.mkdir(parents=True)
    old.touch()
    page = build_page([run], tmp_path / "report", OBJECTIVES)
    assert page.failures == {"02_methods": "RuntimeError: the kernel <died> and more"}
    text = page.path.read_text(encoding="utf-8")
    assert "the kernel &lt;died&gt; and more" in text
    assert "lmopt export" in text and "of 03_search" in text
    assert not page.figures and not old.exists()  # of an earlier report


def test_nothing_is_recommended_where_all_lose_far_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "notebook_paths", list)
    for name, lost in (("good", 0.0), ("bad", 0.2)):
        rows = example_rows(24)
        for row in rows[1:]:
            if row["state"] == "COMPLETE":
                row["accuracy_validation"] -= lost
        text = build_page(
            [write_run(tmp_path / name, rows)], tmp_path / f"report {name}", OBJECTIVES
        ).path.read_text(encoding="utf-8")
        assert ("<h2>Take trial" in text) == (not lost)
        assert ("<h2>No combination is worth taking; the best is trial" in text) == bool(lost)
        assert ("not worth taking." in text) == bool(lost)


def test_runs_that_do_not_compare_have_no_page(tmp_path: Path) -> None:
    rows = example_rows(6)
    other = [{**row, "teacher_key": "another"} for row in rows]
    runs = [write_run(tmp_path / "a", rows), write_run(tmp_path / "b", other)]
    with pytest.raises(ValueError, match="teacher_key: a: teacher; b: another"):
        build_page(runs, tmp_path / "report", OBJECTIVES)
    assert not (tmp_path / "report").exists()


def test_a_notebook_s_code_and_instructions_are_not_on_the_page() -> None:
    cells = [
        nbformat.v4.new_markdown_cell("# Heading\n\nsaid"),
        nbformat.v4.new_markdown_cell("start it so", metadata={"tags": ["interactive"]}),
        nbformat.v4.new_code_cell(
            "secret = 1", outputs=[nbformat.v4.new_output("stream", text="printed ± 1")]
        ),
    ]
    html = notebook_html(nbformat.v4.new_notebook(cells=cells))
    assert "said" in html and "printed" in html
    assert "start it so" not in html and "secret" not in html
