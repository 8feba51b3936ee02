"""The schema of a result row: every column with its type and unit, and the rules a row keeps."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from analysis.rows.lost_causes import LOST_CAUSES
from analysis.rows.metrics import DROP, SCORE, is_score, metric_column
from analysis.rows.spelling import nearest_name

SCHEMA_VERSION = 2
KINDS = ("search", "reference", "linear")
STATES = ("COMPLETE", "FAIL", "LOST", "PRUNED")
BATCHES = ("b1", "b32")


@dataclass(frozen=True)
class Column:
    """One documented column; `unit` "share" means a number in [0, 1] and is checked."""

    group: str
    name: str
    type: pa.DataType
    unit: str
    description: str


_INT, _FLOAT, _TEXT, _BOOL = pa.int64(), pa.float64(), pa.string(), pa.bool_()
_DROP = "accuracy of the teacher's fp32 artifact minus this one's, in pairs; positive is worse"
_MACS = (
    "multiply-accumulates for a text of the task's max_length, by the model's definition: "
    "OpenVINO's artifacts compute the last layer for the first token only where that suffices"
)
_SAMPLES, _NAMES, _TIME = pa.list_(_FLOAT), pa.list_(_TEXT), pa.timestamp("us", tz="UTC")
_IDENTITY = [
    Column("identity", name, type_, "", description)
    for name, type_, description in (
        ("schema_version", _INT, "version of this schema"),
        ("run", _TEXT, "name of the run directory"),
        ("study", _TEXT, "name of the Optuna study"),
        ("trial", _INT, "Optuna trial number; null for the linear model"),
        ("attempt", _INT, "attempt at this trial, from 0"),
        ("kind", _TEXT, " | ".join(KINDS)),
        ("method", _TEXT, "name of the reference point (baseline, distillation, …, linear)"),
        ("state", _TEXT, " | ".join(STATES)),
        ("feasible", _BOOL, "meets the sweep's constraints; null: there are none"),
        ("error", _TEXT, "why it failed, in one line"),
        ("lost_cause", _TEXT, f"why the attempt was lost: {' | '.join(LOST_CAUSES)}"),
        ("log_path", _TEXT, "the job's log"),
        ("recipe_json", _TEXT, "the canonical recipe, complete"),
        ("recipe_key", _TEXT, "hash of the canonical recipe"),
        ("methods", _NAMES, "compression methods that the recipe uses, in the order of the walk"),
        ("settings", _NAMES, "setting of each of these methods, in the same order"),
        ("idle_parameters", _NAMES, "searched parameters that had no effect in this recipe"),
    )
]
_QUALITY = [
    Column("quality", name, type_, unit, description)
    for split, use in (("validation", "the search sees it"), ("test", "only reported"))
    for name, type_, unit, description in (
        (f"accuracy_{split}", _FLOAT, "share", f"accuracy on the {split} split; {use}"),
        (f"accuracy_{split}_se", _FLOAT, "share", "its standard error, clustered by group"),
        (f"macro_f1_{split}", _FLOAT, "share", f"mean of the classes' F1 on the {split} split"),
        (f"accuracy_drop_{split}", _FLOAT, "difference of shares", f"{_DROP}, {split} split"),
        (f"accuracy_drop_{split}_se", _FLOAT, "share", "its standard error, clustered by group"),
        (f"examples_{split}", _INT, "examples", f"size of the {split} split"),
        (f"groups_{split}", _INT, "groups", f"clusters (documents) in the {split} split"),
    )
] + [
    Column("quality", "agreement_test", _FLOAT, "share", "test predictions as the teacher's"),
    Column("quality", "kl_test", _FLOAT, "nats", "mean KL(teacher || this) on the test split"),
]
_SIZE = [
    Column("size", name, type_, unit, description)
    for name, type_, unit, description in (
        ("size_bytes", _INT, "bytes", "the artifact's model files"),
        ("folder_bytes", _INT, "bytes", "the artifact's whole folder, tokenizer included"),
        ("size_ratio", _FLOAT, "×", "size_bytes of the baseline over this one's"),
        ("parameters", _INT, "parameters", "parameters of the model, zeros included"),
        ("sparsity_measured", _FLOAT, "share", "weights that are exactly zero"),
        ("macs", _INT, "MACs", _MACS),
        ("transfer_bytes", _INT, "bytes", "the model files as gzip sends them"),
        (
            "claimed_weight_share",
            _FLOAT,
            "share",
            "bytes of a weight over fp32 as papers count them, zeros left out; null: no claim",
        ),
        (
            "claimed_work_share",
            _FLOAT,
            "share",
            "time of a multiply-accumulate as papers count it, zeros left out; null: no claim",
        ),
    )
]


def _speed_columns(batch: str) -> list[Column]:
    at = f"at batch {batch.removeprefix('b')}"
    ratio = f"median of the teacher's fp32 artifact over this one's {at}, timed in turn"
    return [
        Column("speed", name, type_, unit, description)
        for name, type_, unit, description in (
            (f"latency_{batch}_p50_ms", _FLOAT, "ms", f"median latency {at}"),
            (f"latency_{batch}_p90_ms", _FLOAT, "ms", f"90th percentile of the latency {at}"),
            (f"speedup_{batch}", _FLOAT, "×", ratio),
            (f"speedup_{batch}_low", _FLOAT, "×", "lower end of its 95 % bootstrap interval"),
            (f"speedup_{batch}_high", _FLOAT, "×", "upper end of its 95 % bootstrap interval"),
            (f"baseline_{batch}_p50_ms", _FLOAT, "ms", f"fp32 artifact's median {at}"),
            (f"baseline16_{batch}_p50_ms", _FLOAT, "ms", f"16-bit artifact's median {at}"),
            (f"speedup_{batch}_vs_16", _FLOAT, "×", "speed-up against the 16-bit artifact"),
            (f"latency_{batch}_samples_ms", _SAMPLES, "ms", f"every timing {at}"),
            (f"baseline_{batch}_samples_ms", _SAMPLES, "ms", f"fp32 artifact's timings {at}"),
            (f"baseline16_{batch}_samples_ms", _SAMPLES, "ms", f"16-bit artifact's timings {at}"),
        )
    ]


_SPEED = [column for batch in BATCHES for column in _speed_columns(batch)] + [
    Column("speed", "timed_alone", _BOOL, "", "nothing else of this sweep was running"),
    Column("speed", "timing_noisy", _BOOL, "", "the reference's timings scattered to the end"),
]
_COST = [
    Column("cost", name, type_, unit, description)
    for name, type_, unit, description in (
        ("seconds_total", _FLOAT, "s", "wall time of the attempt"),
        ("stages_cached", _NAMES, "", "stages that were loaded, not run"),
        ("core_seconds", _FLOAT, "s", "wall time times allocated cores"),
    )
]
_PROVENANCE = [
    Column("provenance", name, type_, "", description)
    for name, type_, description in (
        ("seed", _INT, "seed of the recipe"),
        ("teacher_key", _TEXT, "cache key of the fine-tuned teacher"),
        ("artifact_hash", _TEXT, "hash of the artifact's files"),
        ("artifact_path", _TEXT, "where the artifact was saved"),
        ("runtime", _TEXT, "runtime that was measured, e.g. openvino"),
        ("threads", _INT, "threads the runtime was pinned to"),
        (
            "pad_to_multiple_of",
            _INT,
            "timed texts were padded to multiples of so many tokens; 0: not",
        ),
        ("processor", _TEXT, "model name of the processor that accuracy was measured on"),
        ("processor_timed", _TEXT, "the one it was timed on alone; null: on `processor`"),
        ("host", _TEXT, "host name"),
        ("job_id", _TEXT, "scheduler's job id"),
        ("cores", _TEXT, 'cores of the job, e.g. "0,1"'),
        ("versions", _TEXT, "versions of the libraries, JSON"),
        ("git_commit", _TEXT, "commit of the code that ran the attempt"),
        ("started_utc", _TIME, "start of the attempt, UTC"),
        ("finished_utc", _TIME, "end of the attempt, UTC"),
    )
]
COLUMNS: tuple[Column, ...] = (*_IDENTITY, *_QUALITY, *_SIZE, *_SPEED, *_COST, *_PROVENANCE)
DYNAMIC: Mapping[str, tuple[str, str]] = {  # prefix -> (unit, description)
    "param_": ("", "a searched parameter by its name; bool, int64, double or string by its value"),
    "seconds_": ("s", "wall time of a stage by its name"),
    SCORE: (
        "the metric's",
        "`score_<metric>_<split>`: a metric of the task beside accuracy; with `_se` at the end its "
        "standard error, clustered by group",
    ),
    DROP: (
        "the metric's",
        "`drop_<metric>_<split>`: by how much it is worse than the teacher's fp32 artifact, in "
        "pairs; positive is worse; with `_se` at the end its standard error",
    ),
}
_METRICS = (SCORE, DROP)
_BY_NAME = {column.name: column for column in COLUMNS}
_REQUIRED = ("run", "study", "attempt", "kind", "state")
_MEASURED = {"quality", "size", "speed"}
# A trial pruned before training knows its size and speed, never its quality.
_FORBIDDEN = {"COMPLETE": set(), "FAIL": _MEASURED, "LOST": _MEASURED, "PRUNED": {"quality"}}
_PYTHON: Mapping[pa.DataType, tuple[type, ...]] = {
    _INT: (int,),
    _FLOAT: (float, int),
    _TEXT: (str,),
    _BOOL: (bool,),
    _TIME: (datetime,),
    _SAMPLES: (list, tuple),
    _NAMES: (list, tuple),
}


Shown = Mapping[str, Mapping[str, str]]
"""Recipe field -> its unit, header and label, as far as it has them."""


def row_table(
    row: Mapping[str, object], *, partial: bool = False, shown: Shown | None = None
) -> pa.Table:
    """Check one row and return it as a table of one row, columns in the schema's order.

    A `partial` row overrides columns of an existing one: it names `trial` and `attempt` and holds
    nothing else that is not given. `shown` becomes the metadata of the `param_` columns.

    Raises:
        ValueError: an unknown column, a wrong type, a number that is not finite, a COMPLETE row
            without its metrics, or a failed row with one.
    """
    for name in row:
        _check_name(name)
    values = {name: _plain(value) for name, value in row.items() if value is not None}
    types = {name: _type_of(name, value) for name, value in values.items()}
    for name, value in values.items():
        _check_value(name, types[name], value)
    if partial:
        _require(values, ("trial", "attempt"), "a remeasured row")
    else:
        _check_row(values)
        values.setdefault("schema_version", SCHEMA_VERSION)
        values["error"] = " ".join(str(values["error"]).split()) if "error" in values else None
        types = {column.name: column.type for column in COLUMNS} | types
    order = [name for name in _BY_NAME if name in types] + sorted(types.keys() - _BY_NAME.keys())
    fields = [pa.field(name, types[name], metadata=_metadata(name, shown or {})) for name in order]
    arrays = [pa.array([values.get(name)], types[name]) for name in order]
    return pa.table(arrays, schema=pa.schema(fields))


def _metadata(name: str, shown: Shown) -> dict[str, str] | None:
    return dict(shown.get(name.removeprefix("param_"), {})) or None


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


def _check_name(name: str) -> None:
    if name in _BY_NAME:
        return
    if name.startswith(_METRICS):
        if metric_column(name) is None:
            raise ValueError(
                "the column of a metric must end in _validation or _test, or in one of them and "
                f"_se, got {name!r}"
            )
        return
    if name.startswith(tuple(DYNAMIC)):
        return
    near = nearest_name(name, _BY_NAME)
    hint = f"did you mean {near!r}?" if near else "see docs/results-schema.md"
    raise ValueError(f"unknown column {name!r} in a result row; {hint}")


def _type_of(name: str, value: object) -> pa.DataType:
    if name in _BY_NAME:
        return _BY_NAME[name].type
    if name.startswith(("seconds_", *_METRICS)):
        return _FLOAT
    for python, type_ in ((bool, _BOOL), (int, _INT), (float, _FLOAT), (str, _TEXT)):
        if isinstance(value, python):
            return type_
    raise ValueError(f"column {name} must be bool, int, float or str, got {value!r}")


def _check_value(name: str, type_: pa.DataType, value: object) -> None:
    allowed = _PYTHON[type_]
    wrong_bool = isinstance(value, bool) and bool not in allowed
    if wrong_bool or not isinstance(value, allowed):
        raise ValueError(f"column {name} must be {type_}, got {value!r} ({type(value).__name__})")
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError(f"column {name} must carry a time zone, got {value.isoformat()}")
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_value(name, type_.value_type, item)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"column {name} must be finite, got {value}; leave it out instead")
    if unit_of(name) == "share" and not 0 <= value <= 1:  # type: ignore[operator]
        raise ValueError(f"column {name} must be a share in [0, 1], got {value}")


def unit_of(name: str) -> str:
    """Return the unit of a column; empty where it has none, or there is no such column."""
    if name in _BY_NAME:
        return _BY_NAME[name].unit
    column = metric_column(name)
    if column is not None:
        return column.unit
    return next((DYNAMIC[prefix][0] for prefix in DYNAMIC if name.startswith(prefix)), "")


def _group_of(name: str) -> str | None:
    if name in _BY_NAME:
        return _BY_NAME[name].group
    return "quality" if name.startswith(_METRICS) else None


def _check_row(values: Mapping[str, object]) -> None:
    _require(values, _REQUIRED, "a result row")
    kind, state = values["kind"], str(values["state"])
    for name, known in (("kind", KINDS), ("state", STATES)):
        if values[name] not in known:
            raise ValueError(f"column {name} must be one of {known}, got {values[name]!r}")
    if (kind == "linear") == ("trial" in values):
        raise ValueError(
            f"column trial must be null for kind 'linear' and only there, got {kind!r}"
        )
    if kind != "search":
        _require(values, ("method",), f"a row of kind {kind!r}")
    if state == "COMPLETE":
        scored = any(is_score(name, "validation") for name in values)
        needed = ("size_bytes",) if scored else ("accuracy_validation", "size_bytes")
        _require(values, needed, "a COMPLETE row")
    _require(values, ("error",) if state == "FAIL" else (), "a FAIL row")
    _check_lost_cause(values.get("lost_cause"), state)
    for name in values:
        if _group_of(name) in _FORBIDDEN[state]:
            raise ValueError(f"column {name} must be empty in a row of state {state}: no number")


def _check_lost_cause(code: object, state: str) -> None:
    if code is None:
        return
    if code not in LOST_CAUSES:
        raise ValueError(f"column lost_cause must be one of {tuple(LOST_CAUSES)}, got {code!r}")
    if state != ("FAIL" if code == "given_up" else "LOST"):
        raise ValueError(f"column lost_cause must not be {code} in a row of state {state}")


def _require(values: Mapping[str, object], names: tuple[str, ...], what: str) -> None:
    missing = [name for name in names if name not in values]
    if missing:
        raise ValueError(f"{what} must have {', '.join(missing)}")


def schema_markdown() -> str:
    """Return the schema as the page `docs/results-schema.md`."""
    rows = [(c.group, c.name, _type_name(c.type), c.unit, c.description) for c in COLUMNS]
    kinds = {"param_": "by value"}
    rows += [("by name", f"{k}<name>", kinds.get(k, "double"), *DYNAMIC[k]) for k in DYNAMIC]
    lines = [
        "# Schema of the result rows",
        "",
        f"Version {SCHEMA_VERSION}. Generated by `analysis.rows.schema`; do not edit.",
        "",
        "One row per attempt, in `trials/*.parquet` of a run and, all together, in",
        "`results.parquet`; `pandas.read_parquet` reads either. A column that does not apply is",
        "null. A row of state FAIL or LOST holds no measured number, one of state PRUNED no",
        "quality. Shares are fractions in [0, 1], never percents.",
    ]
    for group in dict.fromkeys(row[0] for row in rows):
        lines += ["", f"## {group.capitalize()}", ""]
        lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
        for _, name, type_, unit, description in (row for row in rows if row[0] == group):
            lines.append(f"| `{name}` | {type_} | {unit} | {description.replace('|', '&#124;')} |")
    return "\n".join(lines) + "\n"


def _type_name(type_: pa.DataType) -> str:
    return f"list of {type_.value_type}" if pa.types.is_list(type_) else str(type_)
