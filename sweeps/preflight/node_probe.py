"""What `lmopt doctor` has a node say of itself."""

from pathlib import Path
from typing import Any

from lmopt.runtimes.registry import RUNTIMES

# Each runtime's own package, and what every trial needs.
PACKAGES = dict.fromkeys(
    ("torch", "transformers", *(runtime.packages[0] for runtime in RUNTIMES), "optuna", "pyarrow",
     "submitit")
)  # fmt: skip


def probe_job(place: str, locks: list[str]) -> None:
    """Import what a trial imports, try the locks that the asker holds, and write down the rest."""
    import os
    import platform
    import sys
    from importlib import import_module, metadata

    from lmopt.environment import processor_name
    from sweeps.run.files import write_json

    for module in PACKAGES:
        import_module(module)
    import_module("sweeps.jobs.worker")
    found: dict[str, Any] = {
        "node": os.environ.get("SLURMD_NODENAME", platform.node()),
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor_name(),
        "python": f"{platform.python_version()} {sys.executable}",
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "locks": {path: _tried(path) for path in locks},
        "gpu": _gpu(),
    }
    write_json(Path(place) / "probe.json", found)


def _tried(path: str) -> str:
    from sweeps.preflight.lock_check import try_lock

    try:
        return try_lock(Path(path))
    except OSError as error:
        return str(error)


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
