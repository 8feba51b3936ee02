"""The answer at the top of a report says how sure it is: by the documents of the test split."""

from collections.abc import Callable

import pandas as pd

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
