"""Settings of heavy libraries (no telemetry, readable logs), their versions, and the processor."""

import ctypes
import logging
import os
import platform
import sys
import warnings
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "transformers", "datasets", "scikit-learn", "numpy")


def configure_libraries(threads: int) -> None:
    """Switch off telemetry, progress bars and advice, and give torch `threads` threads.

    Repeated calls are safe.
    """
    refuse_telemetry()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false" if threads == 1 else "true")
    import datasets
    import torch
    import transformers

    torch.set_num_threads(threads)
    _keep_freed_memory()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    logging.getLogger("nncf").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"torch|transformers|openvino|nncf")


def refuse_telemetry() -> None:
    """Switch off the telemetry of all libraries; call this before OpenVINO is imported."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # OpenVINO and NNCF fall back to a sender that does nothing when this import fails.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


def _keep_freed_memory() -> None:
    """Let glibc reuse large buffers instead of returning them to the kernel after each step.

    Their page faults took a sixth of a training step of MiniLM on a virtual machine.

    Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, (1 << 31) - 1)


def library_versions(of_runtimes: Iterable[str]) -> dict[str, str]:
    """Version of every library that a result depends on, those of the runtimes among them."""
    names = (*LIBRARIES, *of_runtimes)
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def processor_name() -> str:
    """Return the processor's model name and the instruction sets that determine its speed."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(fields.get("flags", "").split())
    speed = [f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if f in flags]
    return " ".join([fields.get("model name", platform.machine()), *speed])
