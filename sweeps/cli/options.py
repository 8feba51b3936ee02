"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

SweepFile = Annotated[Path, typer.Argument(help="Sweep definition (YAML).", show_default=False)]
RunDir = Annotated[Path, typer.Argument(help="Run directory.", show_default=False)]
On = Annotated[str, typer.Option(help="Cluster profile: a YAML file, or 'local'.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Wait = Annotated[bool, typer.Option("--wait", help="Stay and show progress until it is done.")]
Trials = Annotated[int | None, typer.Option(min=1, help="Budget in all, replacing study.trials.")]
