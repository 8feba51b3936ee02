"""Rows as a sweep on the BBC corpus leaves them: the sizes and accuracies that were measured."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.rows.table import read_rows, write_row

Row = dict[str, Any]
OBJECTIVES = {
    "accuracy_validation": "maximize",
    "size_bytes": "minimize",
    "speedup_b1": "maximize",
}
# As `lmopt.methods.recipe.Recipe` has them: every default means "no compression".
RECIPE: Row = {
    "base": "teacher", "layers": None, "temperature": 2.0, "alpha": 0.5, "epochs": 0.0,
    "sparsity": 0.0, "recovery_epochs": 0.0, "bits": 32, "seed": 0,
}  # fmt: skip
REFERENCES: dict[str, Row] = {
    "baseline": {},
    "distillation": {"layers": 2, "temperature": 2.0, "alpha": 0.9, "epochs": 1.0},
    "pruning": {"sparsity": 0.7},
    "quantization": {"bits": 8},
}
ERRORS = ("FAIL", "DivergedError: loss is not finite"), ("LOST", "out of memory: job 7 is gone")
# What a row says only of a model that was measured: see `sweeps.study.healing.bury`.
_NOT_FAILED = (
    "processor", "runtime", "threads", "pad_to_multiple_of", "seconds_distill",
    "seconds_latency", "stages_cached",
)  # fmt: skip
_MEGABYTES = {32: 1.0, 16: 0.5, 8: 0.25, 4: 0.133, 3: 0.105, 2: 0.072}  # share of the fp32 size
_BITS_COST = {32: 0.0, 16: 0.0, 8: 0.001, 4: 0.006, 3: 0.014, 2: 0.04}


def _quality(row: Row, accuracy: float, random: np.random.Generator) -> Row:
    quality: Row = {}
    for split, examples, groups in (("validation", 3800, 330), ("test", 9000, 780)):
        right = float(np.clip(accuracy + random.normal(0, 0.003), 0, 1))
        quality |= {
            f"accuracy_{split}": right,
            f"accuracy_{split}_se": float(np.sqrt(right * (1 - right) / examples) * 1.9),
            f"macro_f1_{split}": right - 0.002,
            f"examples_{split}": examples,
            f"groups_{split}": groups,
        }
        baseline = row.get("baseline", {}).get(f"accuracy_{split}", right)
        changed = abs(baseline - right) + (0.06 if "baseline" in row else 0)
        quality[f"accuracy_drop_{split}"] = baseline - right
        quality[f"accuracy_drop_{split}_se"] = float(np.sqrt(changed / examples) * 1.4)
    return quality


def _speed(layers: int, bits: int, random: np.random.Generator) -> Row:
    speed: Row = {}
    for batch, base_ms in (("b1", 25.0), ("b32", 156.0)):
        faster = (6 / layers) ** 1.2 * {32: 1.0, 16: 2.5}.get(bits, 2.4) * random.normal(1, 0.02)
        samples = base_ms / faster * random.lognormal(0, 0.05, 40)
        baseline = base_ms * random.lognormal(0, 0.04, 40)
        ratio = float(np.median(baseline) / np.median(samples))
        speed |= {
            f"latency_{batch}_p50_ms": float(np.median(samples)),
            f"latency_{batch}_p90_ms": float(np.quantile(samples, 0.9)),
            f"speedup_{batch}": ratio,
            f"speedup_{batch}_low": ratio * 0.96,
            f"speedup_{batch}_high": ratio * 1.05,
            f"speedup_{batch}_vs_16": ratio / 2.5,
            f"baseline_{batch}_p50_ms": float(np.median(baseline)),
            f"baseline16_{batch}_p50_ms": float(np.median(baseline)) / 2.5,
            f"latency_{batch}_samples_ms": samples,
            f"baseline_{batch}_samples_ms": baseline.tolist(),
        }
    return speed


def _identity(trial: int | None, kind: str, state: str) -> Row:
    started = datetime(2026, 11, 20, 8, tzinfo=UTC) + timedelta(minutes=2 * (trial or 0))
    return {
        "run": "bbc",
        "study": "bbc",
        "trial": trial,
        "attempt": 0,
        "kind": kind,
        "state": state,
        "processor": "a processor",
        "runtime": "openvino",
        "threads": 1,
        "pad_to_multiple_of": 8,
        "seed": 0,
        "started_utc": started,
        "finished_utc": started + timedelta(seconds=85),
        "seconds_distill": 50.0,
        "seconds_latency": 12.0,
        "seconds_total": 85.0,
        "core_seconds": 85.0,
        "stages_cached": ["data", "teacher"],
    }


def _model_row(trial: int, kind: str, params: Row, baseline: Row, random: Any) -> Row:
    recipe = {**RECIPE, **params}
    layers, bits, sparsity = recipe["layers"] or 6, recipe["bits"], recipe["sparsity"]
    keep = recipe.get("ffn_keep", 1.0)
    accuracy = 0.8875 - {6: 0, 4: 0.003, 3: 0.005, 2: 0.008, 1: 0.011}[layers] - _BITS_COST[bits]
    accuracy -= 0.016 * sparsity**2 + (0.5 if sparsity > 0.85 else 0)  # too sparse: it collapses
    accuracy -= 0.008 * (1 - keep)
    full = 91.1e6 * (0.52 + 0.48 * layers / 6 * (0.4 + 0.6 * keep))
    trimmed = 1 if kind == "reference" else 0.55
    size = int(full * _MEGABYTES[bits] * trimmed) + (150_000 if params else 0)
    baseline_size = baseline.get("size_bytes", size)
    return {
        **_identity(trial, kind, "COMPLETE"),
        **_quality({"baseline": baseline} if baseline else {}, accuracy, random),
        **_speed(layers * (0.5 + 0.5 * keep), bits, random),
        **({f"param_{name}": value for name, value in params.items()} if kind == "search" else {}),
        "size_bytes": size,
        "folder_bytes": size + 700_000,
        "size_ratio": baseline_size / size,
        "sparsity_measured": sparsity * 0.47,
        "recipe_json": json.dumps(recipe),
        "recipe_key": f"{abs(hash(json.dumps(recipe))):x}"[:16],
        "seed": recipe["seed"],
        "teacher_key": "teacher",
        "artifact_path": f"cache/artifact-{trial}",
        "timed_alone": kind == "reference",
        "parameters": int(full / 4 * trimmed),
    }


def _searched(random: np.random.Generator, *, rich: bool) -> Row:
    params: Row = {
        "temperature": float(np.round(np.exp(random.uniform(0, 2)), 2)),
        "alpha": float(np.round(random.uniform(0.3, 1), 2)),
        "layers": int(random.choice([1, 2, 3, 4])),
        "sparsity": float(np.round(random.uniform(0, 0.9), 2)),
        "bits": int(random.choice([32, 16, 8, 4, 3, 2])),
    }
    if not rich:
        return params
    params["sparsity"] = float(random.choice([0.0, 0.0, 0.3, 0.6]))
    params["ffn_keep"] = float(random.choice([1.0, 1.0, 0.5, 0.25]))
    params["seed"] = int(random.integers(3))
    return params


def example_rows(
    trials: int = 24, *, linear: bool = True, seed: int = 0, rich: bool = False
) -> list[Row]:
    """Reference points first, then random trials, some failed, and the linear model's row.

    `rich` rows search structured pruning and three seeds as well.
    """
    random = np.random.default_rng(seed)
    rows: list[Row] = []
    for method, params in list(REFERENCES.items())[:trials]:
        baseline = rows[0] if rows else {}
        row = _model_row(len(rows), "reference", params, baseline, random)
        rows.append({**row, "method": method})
    for trial in range(len(rows), trials):
        params = _searched(random, rich=rich)
        if trial % 12 == 11:
            state, error = ERRORS[trial // 12 % 2]
            spent = {"job_id": "7", "host": "n1", "cores": "0", "log_path": "jobs/7_0_log.err"}
            failed = {**_identity(trial, "search", state), **spent, "error": error}
            failed = {name: value for name, value in failed.items() if name not in _NOT_FAILED}
            rows.append(failed | {f"param_{name}": value for name, value in params.items()})
        else:
            epochs = {"epochs": 1.0}
            row = _model_row(trial, "search", epochs | params, rows[0], random)
            rows.append({key: value for key, value in row.items() if key != "param_epochs"})
    if linear:
        row = _identity(None, "linear", "COMPLETE") | {"method": "linear", "size_bytes": 2_400_000}
        rows.append(row | _quality({"baseline": rows[0]} if rows else {}, 0.854, random))
    return rows


def write_run(folder: Path, rows: list[Row]) -> Path:
    """The rows as the worker writes them, in `folder`/trials."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        linear = row["kind"] == "linear"
        name = "linear" if linear else f"{row['trial']}-{row['attempt']}"
        write_row(row, folder / "trials" / f"{name}.parquet")
    return folder


@pytest.fixture(name="objectives")
def _objectives() -> dict[str, str]:
    return dict(OBJECTIVES)


@pytest.fixture(name="make_run")
def _make_run(tmp_path: Path) -> Callable[..., Path]:
    """`make_run(trials, linear=..., seed=...)` writes an example run and returns its folder."""
    return lambda trials=24, **kwargs: write_run(tmp_path / "run", example_rows(trials, **kwargs))


@pytest.fixture(name="make_rows", scope="session")
def _make_rows(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., pd.DataFrame]:
    """`make_rows(trials, linear=..., seed=...)`: as `make_run`, read back; made once a session."""
    made: dict[str, pd.DataFrame] = {}

    def make(trials: int = 24, **kwargs: Any) -> pd.DataFrame:
        key = f"{trials} {sorted(kwargs.items())}"
        if key not in made:
            folder = tmp_path_factory.mktemp("rows")
            made[key] = read_rows(write_run(folder, example_rows(trials, **kwargs)))
        return made[key].copy()

    return make
