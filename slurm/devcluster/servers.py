"""Start and stop the servers of a development cluster by their recorded processes."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from slurm.files import write_atomic
from slurm.process import is_running, start_time

_STOP_SECONDS = 20.0


class ServerError(RuntimeError):
    """A server did not start. The message ends with the last lines of its log."""


def start_server(
    folder: Path,
    name: str,
    command: list[str],
    *,
    ready: Callable[[], bool],
    variables: dict[str, str] | None = None,
    cores: list[int] | None = None,
    timeout_seconds: float = 120.0,
) -> None:
    """Start a server of the cluster, unless it runs, and wait until it is ready.

    The server stays in the foreground of its own session, so that the recorded process id is its
    own.

    Raises:
        ServerError: It exits, or it is not ready in time.
    """
    if not server_running(folder, name):
        with (folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=os.environ | (variables or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _record(folder, name, process.pid)
        if cores:
            os.sched_setaffinity(process.pid, cores)
    deadline = time.monotonic() + timeout_seconds
    while not ready():
        if not server_running(folder, name) or time.monotonic() > deadline:
            raise ServerError(f"{name} did not start: {_last_lines(folder / f'{name}.log')}")
        time.sleep(0.05)


def stop_servers(
    folder: Path, names: Sequence[str], *, how: signal.Signals = signal.SIGTERM
) -> None:
    """Stop the running servers among `names`, and kill those that do not stop in time."""
    recorded = _recorded(folder)
    processes = []
    for name in names:
        pid, started = recorded.get(name, (0, 0.0))
        if is_running(pid, started):
            processes.append(psutil.Process(pid))
            processes[-1].send_signal(how)
    _, alive = psutil.wait_procs(processes, timeout=_STOP_SECONDS)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=_STOP_SECONDS)


def server_running(folder: Path, name: str) -> bool:
    pid, started = _recorded(folder).get(name, (0, 0.0))
    return is_running(pid, started)


def _recorded(folder: Path) -> dict[str, tuple[int, float]]:
    try:
        return {
            name: (pid, at) for name, (pid, at) in json.loads(_path(folder).read_text()).items()
        }
    except FileNotFoundError:
        return {}


def _record(folder: Path, name: str, pid: int) -> None:
    servers = _recorded(folder) | {name: (pid, start_time(pid) or time.time())}
    write_atomic(_path(folder), json.dumps(servers))


def _path(folder: Path) -> Path:
    return folder / "servers.json"


def _last_lines(path: Path) -> str:
    return " | ".join(path.read_text(errors="replace").splitlines()[-5:])
