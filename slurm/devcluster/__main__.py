"""Run a private Slurm cluster on this machine, for trying out sweeps and for tests.

    python -m slurm.devcluster up [--nodes 2] [--no-accounting]
    export SLURM_CONF=...                # the line that `up` prints
    lmopt submit SWEEP --on devcluster
    python -m slurm.devcluster down

munge, slurmctld, several slurmd, and slurmdbd with MariaDB run on loopback in one private folder
with their own ports. The system's own Slurm, munge and MariaDB are not touched.
"""

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path

from slurm.devcluster.cluster import (
    ClusterError,
    down,
    new_config,
    read_config,
    start_node,
    status,
    stop_node,
    up,
    variables,
)
from slurm.devcluster.packages import MissingPackagesError, install_packages
from slurm.devcluster.servers import ServerError
from slurm.files import ForeignFolderError


def default_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"lmopt-devcluster-{os.getuid()}"


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m slurm.devcluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument("--dir", type=Path, default=default_folder(), metavar="DIR", dest="folder")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", parents=[folder], help="start it, or what crashed of it")
    start.add_argument("--nodes", type=_positive, default=2)
    start.add_argument("--accounting", action=argparse.BooleanOptionalAction, default=True)
    start.add_argument("--cpus-per-node", type=_positive, help="default: its share of the machine")
    start.add_argument(
        "--mem-mb", type=_positive, help="of a node; default: its share of the machine"
    )
    start.add_argument("--max-array-size", type=_positive, default=1001)
    commands.add_parser("down", parents=[folder], help="stop it and remove its folder")
    commands.add_parser("status", parents=[folder], help="its servers and nodes")
    for name in ("node-down", "node-up"):
        commands.add_parser(name, parents=[folder]).add_argument("node")
    commands.add_parser("install", help="install Slurm's packages (root, Debian or Ubuntu)")
    return parser


def _run(options: argparse.Namespace) -> None:
    match options.command:
        case "up":
            if read_config(options.folder) is not None:
                print("# it is there already: to change it, `down` comes first", file=sys.stderr)
            config = new_config(
                nodes=options.nodes,
                accounting=options.accounting,
                node_cpus=options.cpus_per_node,
                node_mem_mb=options.mem_mb,
                max_array_size=options.max_array_size,
            )
            config = up(options.folder, config)
            print(
                f"# nodes {', '.join(config.nodes)}; {config.node_cpus} CPUs each", file=sys.stderr
            )
            if not config.cgroups:
                print("# no cgroup v1 to write: memory is not enforced", file=sys.stderr)
            print(f"export SLURM_CONF={shlex.quote(variables(options.folder)['SLURM_CONF'])}")
        case "down":
            if read_config(options.folder) is None:
                print(f"# no cluster in {options.folder}: nothing to stop", file=sys.stderr)
            down(options.folder)
        case "status":
            print(status(options.folder))
        case "node-down":
            stop_node(options.folder, options.node)
        case "node-up":
            start_node(options.folder, options.node)
        case "install":
            install_packages()


def main() -> None:
    try:
        _run(_parser().parse_args())
    except (ClusterError, ForeignFolderError, MissingPackagesError, ServerError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
