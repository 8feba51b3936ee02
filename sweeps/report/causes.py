"""Why trials came to nothing, the commonest reasons first."""

from collections import Counter
from dataclasses import dataclass

import pandas as pd

from analysis.rows.table import final_attempts

_ERROR_CHARACTERS = 200


@dataclass(frozen=True)
class Cause:
    """A reason of trials that have no result, in the words of their rows."""

    state: str  # FAIL, or LOST: to be tried again
    error: str
    trials: int


def common_causes(rows: pd.DataFrame) -> list[Cause]:
    """Return why trials failed, or were lost and not tried again yet; the commonest first."""
    final = final_attempts(rows[rows["kind"].ne("linear")])
    ended = final[final["state"].isin(["FAIL", "LOST"])]
    errors = ended["error"].fillna("no reason was written").str.slice(0, _ERROR_CHARACTERS)
    counts = Counter(zip(ended["state"], errors, strict=True))
    return [Cause(str(state), str(error), n) for (state, error), n in counts.most_common()]
