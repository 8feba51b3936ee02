"""The commands after a run: take a model home, run a trial again, show and free the disk."""

from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli.options import AsJson, RunDir
from sweeps.cli.output import print_json, steps, terminal


def export(
    run_dir: RunDir,
    dest: Annotated[Path, typer.Argument(help="Folder to make.", show_default=False)],
    trial: Annotated[
        str | None, typer.Option(help="This trial, or the reference point of that name.")
    ] = None,
    knee: Annotated[bool, typer.Option("--knee", help="The front's knee.")] = False,
    max_accuracy_drop: Annotated[
        float | None, typer.Option(help="Against the teacher, a share: 0.01 is one point.")
    ] = None,
    max_size_mb: Annotated[float | None, typer.Option(help="Of the model files.")] = None,
    min_speedup: Annotated[float | None, typer.Option(help="Over the fp32 teacher.")] = None,
    batch: Annotated[
        str | None, typer.Option(help="b1 or b32: where --min-speedup counts.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="openvino, onnx or transformers.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take a model home: artifact, tokenizer, card, usage.py, checked in a fresh process.

    Without a wish it is the best combination of 'lmopt pareto'. Chosen on validation.
    """
    from analysis.rows.table import load_results
    from sweeps.export.choose import choose, make_conditions
    from sweeps.run.directory import open_run

    run = open_run(run_dir)
    conditions = make_conditions(max_accuracy_drop, max_size_mb, min_speedup, batch)
    rows = load_results(run.path)
    choice = choose(rows, run.sweep.objectives, trial=trial, knee=knee, conditions=conditions)
    from sweeps.cli.render_files import print_result
    from sweeps.export.export import export_trial

    with steps() as progress:
        result = export_trial(run, rows, choice, dest, form=form, progress=progress)
    if as_json:
        print_json(result.to_json())
    else:
        print_result(result, terminal())


def reproduce(
    run_dir: RunDir,
    trial: Annotated[
        str, typer.Argument(help="Its number, or a reference point's name.", show_default=False)
    ],
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Train the teacher again too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a trial again from its row and the run's frozen definition, and compare.

    Exit code 1 if it does not reproduce.
    """
    from analysis.rows.table import load_results
    from sweeps.export.choose import choose_trial
    from sweeps.run.directory import open_run

    run = open_run(run_dir)
    choice = choose_trial(load_results(run.path), trial)
    from sweeps.cli.render_files import print_reproduction
    from sweeps.export.reproduce import reproduce_trial

    with steps() as progress:
        found = reproduce_trial(run, choice.row, from_scratch=from_scratch, progress=progress)
    if as_json:
        print_json(found.to_json())
    else:
        print_reproduction(found, terminal())
    raise typer.Exit(0 if found.reproduced else 1)


def disk(
    run_dir: RunDir,
    keep: Annotated[
        list[int] | None, typer.Option(help="Keep this trial's artifact too; may be repeated.")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove what is removable.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a run has on disk: artifacts kept, models that save work, what may go."""
    from sweeps.cli.render_files import print_disk
    from sweeps.disk.retention import ask_for, prune_cache
    from sweeps.disk.usage import read_disk
    from sweeps.run.directory import open_run

    run = open_run(run_dir)
    if keep:
        ask_for(run, keep)
    if prune:
        prune_cache(run)
    found = read_disk(run)
    if as_json:
        print_json(found.to_json())
    else:
        print_disk(found, terminal())
