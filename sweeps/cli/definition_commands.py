"""The commands before a run: check a definition, examine a machine, print the schema."""

from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli.options import AsJson, On, SweepFile
from sweeps.cli.output import print_json, terminal


def check(sweep: SweepFile, on: On = "local", as_json: AsJson = False) -> None:
    """Check a sweep definition and show what would run: space, budget, cost."""
    from sweeps.cli.render_report import print_plan
    from sweeps.preflight.check import plan

    found = plan(sweep, on)
    if as_json:
        print_json(found)
    else:
        print_plan(found, terminal())


def doctor(
    on: On = "local",
    folder: Annotated[Path, typer.Option("--dir", help="Where runs go.")] = Path("runs"),
    cache: Annotated[
        Path | None, typer.Option(help="Where their stages go, if on another file system.")
    ] = None,
    wait_s: Annotated[float, typer.Option(min=1, help="For a node, in the queue.")] = 300,
    as_json: AsJson = False,
) -> None:
    """Check Python, disk, scheduler and a node of each kind; a bad line says what to do."""
    from dataclasses import asdict

    from slurm.profile import load_profile
    from sweeps.preflight.doctor import examine

    found = []
    for finding in examine(load_profile(on), folder, wait_s, cache):
        found.append(finding)
        if not as_json:
            print(f"{'FAIL' if finding.remedy else 'ok':5}{finding.what}: {finding.said}")
            if finding.remedy:
                print(f"     -> {finding.remedy}")
    if as_json:
        print_json([asdict(finding) for finding in found])
    raise typer.Exit(int(any(finding.remedy for finding in found)))


def schema() -> None:
    """Print the JSON schema of a sweep definition; editors complete and check with it."""
    from sweeps.definition.sweep import SweepConfig

    print_json(SweepConfig.model_json_schema())
