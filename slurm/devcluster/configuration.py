"""Configuration files of a development cluster on loopback, in one private folder."""

import contextlib
import getpass
import os
import random
import socket
from dataclasses import dataclass, field
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_NODE_LIST_LIMIT = 1000


@dataclass(frozen=True)
class ClusterConfig:
    """The configuration of a cluster. `up` uses it again after a crash."""

    nodes: tuple[str, ...]
    node_cpus: int
    node_mem_mb: int
    max_array_size: int
    accounting: bool
    cgroups: bool
    controller_port: int
    dbd_port: int
    node_ports: tuple[int, ...]
    settings: dict[str, str] = field(default_factory=dict)  # Further lines of slurm.conf.


def free_ports(count: int) -> list[int]:
    """Return unused ports of loopback, below the range that the kernel assigns to clients."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if port not in ports and probe.connect_ex(("127.0.0.1", port)) != 0:
                ports.append(port)
    return ports


def cgroups_writable() -> bool:
    """Return whether cgroup v1 can enforce the memory limits of jobs."""
    return (
        all(os.access(_CGROUPS / name, os.W_OK) for name in ("memory", "freezer", "cpuset"))
        and (_CGROUPS / "memory" / "memory.limit_in_bytes").exists()
    )


def node_cgroups(node: str) -> list[Path]:
    """Return Slurm's cgroups of a node.

    Slurm derives their names from the node's name, so two clusters must not share a node's name.
    """
    return [path for path in _CGROUPS.glob(f"*/slurm_{node}") if path.is_dir()]


def free_node_names(count: int) -> tuple[str, ...]:
    """Return the names n1, n2, ... that no other cluster of this machine uses."""
    names = (f"n{number}" for number in range(1, _NODE_LIST_LIMIT))
    return tuple([name for name in names if not node_cgroups(name)][:count])


def write_configuration(folder: Path, config: ClusterConfig) -> None:
    (folder / "slurm.conf").write_text(_slurm_conf(folder, config))
    if config.cgroups:
        (folder / "cgroup.conf").write_text(
            f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={_CGROUPS}\n"
            "ConstrainRAMSpace=yes\nConstrainSwapSpace=yes\n"
        )
    if config.accounting:
        path = folder / "slurmdbd.conf"
        path.touch(mode=0o600)
        path.write_text(_slurmdbd_conf(folder, config))


def _slurm_conf(folder: Path, config: ClusterConfig) -> str:
    host, user = socket.gethostname(), getpass.getuser()
    address = _loopback_address()
    tracking = "cgroup" if config.cgroups else "linuxproc"
    settings = {
        "ClusterName": "dev",
        "SlurmctldHost": f"{host}({address or '127.0.0.1'})",
        "SlurmctldPort": config.controller_port,
        # Without it the servers listen on every address. The host name must resolve to loopback.
        "CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny" if address else "",
        "SlurmUser": user,
        "SlurmdUser": user,
        "AuthType": "auth/munge",
        # A requeued job waits until its credentials expire, after 120 s by default.
        "AuthInfo": f"socket={folder}/munge.socket,cred_expire=10",
        "StateSaveLocation": f"{folder}/state",
        "SlurmdSpoolDir": f"{folder}/spool-%n",
        "SlurmctldPidFile": f"{folder}/slurmctld.pid",
        "SlurmdPidFile": f"{folder}/slurmd-%n.pid",
        "ProctrackType": f"proctrack/{tracking}",
        "TaskPlugin": "task/cgroup" if config.cgroups else "task/none",
        "JobAcctGatherType": "jobacct_gather/linux",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": "sched_interval=1,batch_sched_delay=0,bf_interval=2",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "MaxArraySize": config.max_array_size,
        # A virtual node may have more CPUs and memory than its share of the machine.
        "SlurmdParameters": "config_overrides",
        "ReturnToService": 2,
        "SlurmdTimeout": 30,  # A busy laptop may answer late.
        "KillWait": 15,
        "MpiDefault": "none",
        "MailProg": "/bin/true",
    }
    if config.accounting:
        settings |= {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": address or "127.0.0.1",
            "AccountingStoragePort": config.dbd_port,
            "AccountingStoragePass": f"{folder}/munge.socket",  # The accounting's munge socket.
            "AccountingStorageEnforce": "limits",
        }
    lines = [f"{key}={value}" for key, value in (settings | config.settings).items() if value]
    for name, port in zip(config.nodes, config.node_ports, strict=True):
        lines.append(
            f"NodeName={name} NodeHostname={host} NodeAddr={address or '127.0.0.1'} Port={port}"
            f" CPUs={config.node_cpus} RealMemory={config.node_mem_mb}"
        )
    everywhere = f"Nodes={','.join(config.nodes)} MaxTime=INFINITE State=UP"
    lines.append(f"PartitionName=batch {everywhere} Default=YES PriorityTier=1")
    lines.append(f"PartitionName=urgent {everywhere} PriorityTier=10")
    return "\n".join(lines) + "\n"


def _loopback_address() -> str | None:
    with contextlib.suppress(OSError):
        address = socket.gethostbyname(socket.gethostname())
        return address if address.startswith("127.") else None
    return None


def _slurmdbd_conf(folder: Path, config: ClusterConfig) -> str:
    settings = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge.socket",
        "DbdHost": socket.gethostname(),
        "DbdAddr": _loopback_address() or "127.0.0.1",
        "DbdPort": config.dbd_port,
        "CommunicationParameters": "NoInAddrAny" if _loopback_address() else "",
        "SlurmUser": getpass.getuser(),
        "PidFile": f"{folder}/slurmdbd.pid",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",
        "StorageUser": getpass.getuser(),
        "StorageLoc": "slurm",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items() if value)
