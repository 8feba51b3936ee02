"""The measuring process: start it, pin it to cores, end it with its parent."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lmopt.progress import Progress

CORE_NAME = "lmopt-measure-core"  # Of the sockets that stand for a machine's cores.
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def run_process(
    what: str, spec: dict[str, Any], threads: int, stage: str, progress: Progress | None
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output.npz"), Path(folder, "stderr")
        spec |= {"what": what, "threads": threads, "output": str(output)}
        path = Path(folder, "spec.json")
        path.write_text(json.dumps(spec))
        # -P: a stray file in the working directory must not shadow a package.
        command = [sys.executable, "-P", "-m", "lmopt.measurement", str(path)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        with (
            errors.open("w") as stderr,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
            ) as process,
        ):
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    word, _, value = line.partition(" ")
                    if word == "progress" and progress is not None:
                        progress(stage, float(value))
            except BaseException:
                process.kill()
                raise
        if process.returncode == -signal.SIGKILL:  # The kernel's answer to a lack of memory.
            raise MemoryError("the measuring process was killed")
        if process.returncode != 0:
            lines = errors.read_text().strip().splitlines() or ["no message"]
            raise RuntimeError(f"measuring failed (exit {process.returncode}): {lines[-1]}")
        with np.load(output) as arrays:
            return dict(arrays)


def pin(threads: int) -> list[socket.socket]:
    """Stay on `threads` cores that no other measurement of the machine has.

    Where there are too few of them, the first cores that this process may use fill up the number.
    Not every cluster binds its jobs, and all of a node would be timed on its first core. A core is
    taken as long as the sockets that are returned live: names of no file, which the kernel frees
    whatever ends their holder.
    """
    taken: dict[int, socket.socket] = {}
    if hasattr(os, "sched_setaffinity"):  # Linux only.
        cores = sorted(os.sched_getaffinity(0))
        for core in cores:
            if len(taken) < threads:
                name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                with contextlib.suppress(OSError):
                    name.bind(f"\0{CORE_NAME}-{core}")
                    taken[core] = name
        others = [core for core in cores if core not in taken]
        os.sched_setaffinity(0, [*taken, *others][:threads])
    return list(taken.values())


def die_with_parent() -> None:
    """Ask the kernel to end this process when the worker that started it is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
