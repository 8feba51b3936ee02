"""Start and stop a development cluster (`python -m slurm.devcluster` is its command)."""

import contextlib
import getpass
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import psutil

from slurm.devcluster.configuration import (
    ClusterConfig,
    cgroups_writable,
    free_node_names,
    free_ports,
    node_cgroups,
    write_configuration,
)
from slurm.devcluster.packages import check_packages, program
from slurm.devcluster.servers import server_running, start_server, stop_servers
from slurm.errors import UserError
from slurm.files import private_folder, write_atomic

_SOCKET_PATH_LIMIT = 107  # Bytes in the path of a Unix socket.


class ClusterError(UserError):
    """The development cluster cannot do this. The message is one line with the remedy."""


def new_config(
    *,
    nodes: int = 2,
    accounting: bool = True,
    node_cpus: int | None = None,
    node_mem_mb: int | None = None,
    max_array_size: int = 1001,
    settings: dict[str, str] | None = None,
) -> ClusterConfig:
    """Return a configuration with free ports and names.

    A node has its share of the machine's CPUs and is kept to them. With `node_cpus` it has that
    number, and the nodes together may then have more CPUs than the machine.
    """
    ports = free_ports(nodes + 2)
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return ClusterConfig(
        nodes=free_node_names(nodes),
        node_cpus=node_cpus or max(1, len(os.sched_getaffinity(0)) // nodes),
        node_mem_mb=node_mem_mb or memory_mb // nodes,
        max_array_size=max_array_size,
        accounting=accounting,
        cgroups=os.geteuid() == 0 and cgroups_writable(),
        controller_port=ports[0],
        dbd_port=ports[1],
        node_ports=tuple(ports[2:]),
        settings=settings or {},
    )


def up(folder: Path, config: ClusterConfig) -> ClusterConfig:
    """Start the cluster, or those of its servers that do not run, and return its configuration.

    An existing cluster, running or crashed, keeps its configuration.

    Raises:
        ClusterError: The folder cannot be used.
        MissingPackagesError: A package is not installed.
        ServerError: A server does not start.
    """
    folder = folder.absolute()
    if len(str(folder / "mysql.socket")) > _SOCKET_PATH_LIMIT - 8:
        raise ClusterError(
            f"the path of a socket would be too long in {folder}: use --dir /tmp/dev"
        )
    if re.search(r"[\s#\\%]", str(folder)):  # slurm.conf has no quoting.
        raise ClusterError(f"no blank, #, \\ or % may be in {str(folder)!r}: use --dir /tmp/dev")
    known = read_config(folder)
    if known is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        # `down` removes the folder with all its contents.
        raise ClusterError(f"{folder} is there and no cluster's: give --dir a new or empty folder")
    config = known or config
    check_packages(accounting=config.accounting)
    private_folder(folder)
    write_atomic(folder / "cluster.json", json.dumps(asdict(config)))
    write_configuration(folder, config)
    _start_munge(folder)
    if config.accounting:
        _start_accounting(folder, config)
    start_controller(folder)
    for node in config.nodes:
        start_node(folder, node)
    if config.accounting:
        _add_account(folder)
    return config


def down(folder: Path) -> None:
    """Stop every server of the cluster, with the jobs on it, and remove its folder."""
    config = read_config(folder)
    if config is None:
        return
    _kill_jobs(folder)
    stop_servers(folder, ["slurmctld", *(f"slurmd-{node}" for node in config.nodes)])
    stop_servers(folder, ["slurmdbd"])
    stop_servers(folder, ["mariadb", "munged"])
    for node in config.nodes:
        for cgroup in node_cgroups(node):
            _remove_cgroup(cgroup)
    shutil.rmtree(folder)


def status(folder: Path) -> str:
    """Return the states of the cluster's servers and nodes, one per line."""
    config = read_config(folder)
    if config is None:
        return f"no cluster in {folder}"
    names = ["munged", *(["mariadb", "slurmdbd"] if config.accounting else []), "slurmctld"]
    names += [f"slurmd-{node}" for node in config.nodes]
    lines = [f"{name:12} {'up' if server_running(folder, name) else 'DOWN'}" for name in names]
    if server_running(folder, "slurmctld"):
        lines += ["", call(folder, "sinfo", "--Node", "--long", check=False).stdout.strip()]
    return "\n".join(lines)


def start_controller(folder: Path) -> None:
    """Start slurmctld, for example after `stop_controller`."""
    start_server(
        folder,
        "slurmctld",
        [program("slurmctld"), "-D", "-f", str(folder / "slurm.conf")],
        variables=variables(folder),
        ready=lambda: call(folder, "scontrol", "ping", check=False).returncode == 0,
    )


def stop_controller(folder: Path) -> None:
    """Stop slurmctld; squeue and sbatch then get no answer, but jobs run on."""
    stop_servers(folder, ["slurmctld"])


def start_node(folder: Path, node: str) -> None:
    """Start a node's slurmd and wait until Slurm may use it."""
    config = _known(folder, node)
    index = config.nodes.index(node)
    start_server(
        folder,
        f"slurmd-{node}",
        [program("slurmd"), "-D", "-N", node, "-f", str(folder / "slurm.conf")],
        variables=variables(folder),
        ready=lambda: _usable(folder, node),
        cores=_own_cores(config, index),
    )


def stop_node(folder: Path, node: str) -> None:
    """Kill a node's slurmd and mark the node DOWN, as Slurm would do half a minute later.

    The processes of its jobs run on, as they do when the network fails.
    """
    _known(folder, node)
    stop_servers(folder, [f"slurmd-{node}"], how=signal.SIGKILL)
    call(folder, "scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")


def call(folder: Path, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run a Slurm command against the cluster."""
    environment = os.environ | variables(folder)
    return subprocess.run(command, capture_output=True, text=True, check=check, env=environment)


def read_config(folder: Path) -> ClusterConfig | None:
    """Return the configuration of the cluster in `folder`; None if there is none.

    Raises:
        ForeignFolderError: Another user can write to the folder, and could record any process of
            this user as a server to be stopped.
    """
    try:
        if (folder / "cluster.json").exists():
            private_folder(folder)
        values = json.loads((folder / "cluster.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    config = ClusterConfig(**values)
    return replace(config, nodes=tuple(config.nodes), node_ports=tuple(config.node_ports))


def variables(folder: Path) -> dict[str, str]:
    """Return the environment variables that point Slurm's commands to the cluster."""
    return {"SLURM_CONF": str(folder.absolute() / "slurm.conf")}


def _known(folder: Path, node: str) -> ClusterConfig:
    config = read_config(folder)
    if config is None or node not in config.nodes:
        known = ", ".join(config.nodes) if config else "none"
        raise ClusterError(f"no node {node} in {folder}: its nodes are {known}")
    return config


def _own_cores(config: ClusterConfig, index: int) -> list[int] | None:
    """Return the cores of one node; None if the machine has too few for all nodes."""
    cores = sorted(os.sched_getaffinity(0))
    if len(config.nodes) * config.node_cpus > len(cores):
        return None
    return cores[index * config.node_cpus : (index + 1) * config.node_cpus]


def _usable(folder: Path, node: str) -> bool:
    state = call(folder, "sinfo", "--noheader", f"--nodes={node}", "--format=%T", check=False)
    return state.stdout.split("\n")[0].strip() in ("idle", "mixed", "allocated", "completing")


def _start_munge(folder: Path) -> None:
    key = folder / "munge.key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
    path = folder / "munge.socket"
    options = {"socket": path, "key-file": key, "log-file": folder / "munged.log"}
    options |= {"pid-file": folder / "munged.pid", "seed-file": folder / "munged.seed"}
    # Without --force, munged objects to root as its user and to a folder below /tmp.
    command = [program("munged"), "--foreground", "--force"]
    command += [f"--{option}={value}" for option, value in options.items()]
    start_server(folder, "munged", command, ready=lambda: _accepts(path))


def _start_accounting(folder: Path, config: ClusterConfig) -> None:
    data, path = folder / "mysql", folder / "mysql.socket"
    root = ["--user=root"] if os.geteuid() == 0 else []
    if not (data / "mysql").exists():
        install = [program("mariadb-install-db"), "--no-defaults", f"--datadir={data}", *root]
        subprocess.run([*install, "--skip-test-db"], check=True, capture_output=True)
    options = [f"--datadir={data}", f"--socket={path}", f"--pid-file={folder}/mysql.pid"]
    # The folder is private: only its owner can reach the socket.
    options += ["--skip-networking", "--skip-grant-tables", "--innodb-buffer-pool-size=64M"]
    options += ["--innodb-flush-log-at-trx-commit=0", *root]
    command = [program("mariadbd"), "--no-defaults", *options]
    start_server(folder, "mariadb", command, ready=lambda: _accepts(path))
    start_server(
        folder,
        "slurmdbd",
        [program("slurmdbd"), "-D"],
        variables=variables(folder) | {"MYSQL_UNIX_PORT": str(path)},
        ready=lambda: _listens(config.dbd_port),
    )


def _add_account(folder: Path) -> None:
    """Add an account for the user, because limits like MaxSubmitJobs belong to accounts."""
    add = ["sacctmgr", "--immediate", "add"]
    call(folder, *add, "account", "dev", check=False)
    call(folder, *add, "user", getpass.getuser(), "account=dev", check=False)


def _kill_jobs(folder: Path) -> None:
    """Kill the processes of all jobs, including those whose node was lost."""
    if server_running(folder, "slurmctld"):
        call(folder, "scancel", f"--user={getpass.getuser()}", check=False)
    mark = f"SLURM_CONF={variables(folder)['SLURM_CONF']}\0".encode()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            # psutil's environ() stops at the gap that slurmstepd's title leaves in its environment.
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            of_job = b"SLURM_JOB_ID=" in environment or process.name() == "slurmstepd"
            if mark in environment and of_job:
                process.kill()


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return path.exists() and probe.connect_ex(str(path)) == 0


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _remove_cgroup(cgroup: Path) -> None:
    for path, _, _ in os.walk(cgroup, topdown=False):
        with contextlib.suppress(OSError):  # A busy one blocks only this node name.
            Path(path).rmdir()
