"""The `lmopt` command. Heavy imports happen inside the commands: `lmopt --help` must be instant."""

import os
import sys
import warnings
from typing import Annotated

import typer

from sweeps.cli import definition_commands, model_commands, report_commands, run_commands
from sweeps.cli.encoding import protect_streams
from sweeps.cli.failures import print_failure

app = typer.Typer(
    name="lmopt",
    help="Find the best mix of distillation, pruning and quantization for a language model: "
    "Optuna sweeps on this machine or a Slurm cluster, measured honestly.",
    epilog="Example:  lmopt submit sweeps/configs/bbc_minilm.yaml --on local --wait",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Each command with an example of itself, in the order of `lmopt --help`.
COMMANDS = (
    (definition_commands.check, "lmopt check sweeps/configs/bbc_minilm.yaml"),
    (run_commands.submit, "lmopt submit my_sweep.yaml --on slurm/profiles/my_cluster.yaml"),
    (run_commands.resume, "lmopt resume runs/bbc_minilm --trials 60 --wait"),
    (run_commands.status, "lmopt status runs/bbc_minilm --watch"),
    (run_commands.cancel, "lmopt cancel runs/bbc_minilm"),
    (run_commands.logs, "lmopt logs runs/bbc_minilm 7"),
    (run_commands.rebuild, "lmopt rebuild runs/bbc_minilm"),
    (definition_commands.doctor, "lmopt doctor --on my_cluster.yaml"),
    (report_commands.pareto, "lmopt pareto runs/bbc_minilm --json | jq '.front[0]'"),
    (report_commands.dashboard, "lmopt dashboard runs/bbc_minilm --port 8090"),
    (report_commands.report, "lmopt report runs/bbc_minilm"),
    (report_commands.compare, "lmopt compare runs/tpe runs/random"),
    (definition_commands.schema, "lmopt schema > sweep.schema.json"),
    (model_commands.export, "lmopt export runs/bbc_minilm model --max-accuracy-drop 0.01"),
    (model_commands.reproduce, "lmopt reproduce runs/bbc_minilm 7"),
    (model_commands.disk, "lmopt disk runs/bbc_minilm --keep 7 --prune"),
)


def main() -> None:
    """Run the command. Only a defect of lmopt shows a traceback (`sweeps.cli.failures`)."""
    protect_streams()
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # no line of our code
    try:
        app()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if os.environ.get("LMOPT_DEBUG"):
            raise
        sys.exit(print_failure(error))


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"lmopt {version('lmopt')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print it.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the command itself."""


for command, example in COMMANDS:
    app.command(epilog=f"Example:  {example}")(command)
