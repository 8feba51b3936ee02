"""`lmopt export`: a trial's model in a folder of its own, checked in a fresh process.

The folder is made beside its destination and renamed: it is there whole or not at all.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lmopt.packaging.formats import model_files, write_checksums, write_labels
from lmopt.packaging.model_card import CARD
from lmopt.packaging.usage_script import USAGE, usage_text
from lmopt.pipeline.prepare import Prepared
from lmopt.pipeline.trial import make_model
from lmopt.progress import Progress
from lmopt.runtimes.manifest import copy_artifact, read_manifest
from lmopt.runtimes.registry import FORMATS, RUNTIMES, runtime_named, runtime_of_format
from lmopt.stages.context import Walk
from sweeps.definition.errors import ConfigError
from sweeps.disk.retention import bytes_on_disk
from sweeps.export.artifacts import artifact_of, recipe_of, threads_of
from sweeps.export.card import Exported, trial_line, write_card
from sweeps.export.choose import Choice
from sweeps.export.verify import ExportError, Written, verify
from sweeps.run.directory import Run
from sweeps.run.prepared import load_prepared


@dataclass(frozen=True)
class Result:
    """What was exported; the numbers are those of the folder."""

    dest: str
    trial: int
    rule: str
    form: str
    note: str | None
    size_bytes: int
    folder_bytes: int
    accuracy_test: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        return asdict(self)


def check_wish(dest: Path, form: str | None) -> None:
    """Refuse a destination or a format before anything is computed.

    Raises:
        ConfigError: The destination exists or cannot be made, or the format is unknown.
    """
    if form is not None and form not in FORMATS:
        raise ConfigError(f"--format must be one of {', '.join(FORMATS)}, got {form!r}")
    if dest.exists() or dest.is_symlink():
        raise ConfigError(f"{dest} exists: remove it, or name another folder")
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{dest.name}-", dir=dest.parent):
            pass  # Whoever may not write there should not wait for a model first.
    except OSError as error:
        raise ConfigError(f"cannot make {dest}: {error.strerror}; name another") from None


def export_trial(
    run: Run,
    rows: pd.DataFrame,
    choice: Choice,
    dest: Path,
    *,
    form: str | None = None,
    progress: Progress | None = None,
) -> Result:
    """Write a trial's model to `dest`; it is loaded from there before anybody else does.

    Raises:
        ConfigError: `dest` exists, or the trial cannot be had in this format.
        ExportError: What was written does not have the row's numbers; `dest` is not there.
    """
    dest = dest.absolute()
    check_wish(dest, form)
    row, threads = choice.row, threads_of(choice.row)
    prepared = load_prepared(run, threads, progress)
    artifact = artifact_of(run, prepared, row, progress)
    folder = Path(tempfile.mkdtemp(prefix=f".{dest.name}-", dir=dest.parent))
    try:
        written = _write(run, prepared, row, artifact, folder, form, progress)
        exported = verify(
            prepared, row, written, cache=run.cache, threads=threads, progress=progress
        )
        write_card(run, rows, choice, prepared, exported, folder / CARD)
        write_checksums(folder)
        result = _result(dest, folder, choice, exported)
        _put_in_place(folder, dest)
    except ExportError as error:
        raise ExportError(f"trial {choice.trial} was not exported: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _write(
    run: Run,
    prepared: Prepared,
    row: Mapping[str, Any],
    artifact: Path,
    folder: Path,
    form: str | None,
    progress: Progress | None,
) -> Written:
    """Write model, tokenizer, label names and `usage.py`."""
    manifest = read_manifest(artifact)
    native = runtime_named(manifest.runtime).export_format
    form = form or native
    _check_format(row, artifact, native, form)
    model = None
    if form == native:
        copy_artifact(artifact, folder)
    else:
        walk = Walk(run.cache, threads_of(row), progress)
        model = make_model(walk, prepared, recipe_of(run, row).canonical())[0].path
        exporter = runtime_of_format(form).exporter
        assert exporter is not None, "it was checked"
        exporter.write(model, manifest, folder)
    write_labels(folder, prepared.label_names)
    precision = manifest.precision if model is None else None
    text = usage_text(
        folder,
        form,
        model_files(folder),
        manifest.max_length,
        precision,
        pad_id=manifest.pad_id,
        pad_to_multiple_of=row.get("pad_to_multiple_of") or 0,
        kind=prepared.task.kind,
    )
    (folder / USAGE).write_text(text, encoding="utf-8")
    return Written(folder, form, manifest, model)


def _check_format(row: Mapping[str, Any], artifact: Path, native: str, form: str) -> None:
    """Refuse a format that cannot hold the trial's model."""
    runtime = runtime_of_format(form)
    others = [each.export_format for each in RUNTIMES if each.exporter and each is not runtime]
    if reason := runtime.unreadable(artifact):
        remedy = f"take --format {others[0]}" if form == native else "export it without --format"
        raise ConfigError(
            f"{form} cannot hold the model of trial {row['trial']}: {reason}; {remedy}"
        )
    if form != native and runtime.exporter is None:
        raise ConfigError(
            f"trial {row['trial']} was measured in {row['runtime']}, not in {runtime.name}: export "
            f"it without --format, or as {' or '.join(others)}"
        )


def _result(dest: Path, folder: Path, choice: Choice, exported: Exported) -> Result:
    line = exported.measured or trial_line(choice.row)
    assert line.size_bytes is not None and line.accuracy is not None, "it was just measured"
    return Result(
        dest=str(dest),
        trial=choice.trial,
        rule=choice.rule,
        form=exported.form,
        note=exported.note,
        size_bytes=int(line.size_bytes),
        folder_bytes=bytes_on_disk(folder),
        accuracy_test=float(line.accuracy),
    )


def _put_in_place(folder: Path, dest: Path) -> None:
    """Flush every file, then rename."""
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o755 if path.is_dir() else 0o644)  # mkdtemp and safetensors keep out others
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    try:
        folder.rename(dest)
    except OSError as error:  # somebody made it meanwhile
        raise ConfigError(f"cannot make {dest}: {error.strerror}; name another folder") from None
