"""Why attempts were lost: the codes of the column `lost_cause`, and the rows from before it."""

from collections.abc import Mapping
from typing import Any

LOST_CAUSES: Mapping[str, str] = {
    "out_of_memory": "more memory than its job had",
    "out_of_gpu_memory": "more memory than its GPU had",
    "timeout": "more time than its job had",
    "node_fail": "the node went down",
    "preempted": "a more urgent job took its place",
    "cancelled": "somebody cancelled its job",
    "place": "trouble of the node or the disk",
    "damaged": "its row could not be read any more",
    "lost": "killed without a trace",
    "given_up": "the trial was lost more often than the profile's retries allow",
}


def lost_cause(row: Mapping[str, Any]) -> str | None:
    """Return the code of why an attempt was lost; None for a row that is not LOST."""
    if row["state"] != "LOST":
        return None
    code = row.get("lost_cause")
    return str(code) if code else _cause_in_words(str(row.get("error")))


def _cause_in_words(error: str) -> str:
    """Read the cause of a row of schema 1 off its error, "node fail: job 11 is gone" for one."""
    code = error.partition(":")[0].replace(" ", "_")
    return code if code in LOST_CAUSES else "lost"
