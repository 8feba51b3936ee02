"""The answer at the top of a report says how sure it is: by the documents of the test split."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.figures.points import figure_points
from analysis.page.summary import summarize

MakeRows = Callable[..., pd.DataFrame]
LOST = "Lost against the teacher"


def test_an_interval_over_few_documents_is_students(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(12)
    rows["accuracy_drop_test"], rows["accuracy_drop_test_se"] = 0.02, 0.01
    for groups, interval in ((5, "-0.8 to 4.8"), (100_000, "0.0 to 4.0"), (None, "0.0 to 4.0")):
        rows["groups_test"] = pd.array([groups] * len(rows), dtype="Int64")
        found = summarize(rows, objectives)
        assert found.facts[LOST].startswith(f"2.0 points, 95 % interval {interval}")  # t(4): 2.776
        shown = any("No loss against the teacher is shown" in said for said in found.cautions)
        assert shown == (groups == 5)


def test_one_document_gives_no_interval_and_that_is_said(
    make_rows: MakeRows, objectives: dict[str, str]
) -> None:
    rows = make_rows(12)
    said = "The test split is one document"
    assert not any(said in caution for caution in summarize(rows, objectives).cautions)
    rows["groups_test"] = pd.array([1] * len(rows), dtype="Int64")
    rows["accuracy_drop_test"], rows["accuracy_drop_test_se"] = 0.02, np.nan
    found = summarize(rows, objectives)
    assert found.facts[LOST] == "2.0 points"
    assert any(said in caution for caution in found.cautions)
    assert figure_points(rows, objectives)["y_bar"].eq(0).all()
