"""Rows as dictionaries by column: what a table of one row, or of a thousand, reads like one by one.

A row has some eighty documented columns and one for each searched parameter and stage
(`analysis.rows.schema`), so it is a mapping and no class of fields.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

Row = Mapping[str, Any]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as dictionaries by column, as the frame has their values."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def plain_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows with None where there is no value: `json.dumps` takes them."""
    return records(frame.astype(object).where(frame.notna(), None))
