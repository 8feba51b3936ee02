"""Which errors are a trial's own, and which say something of a node, a disk or its memory."""

import errno
import os
from typing import Any

import pytest
import torch

from slurm.job_process import Stopped
from sweeps.jobs import entry, prepare
from sweeps.jobs.failures import RunStoppedError, cause_of_error, clear_end, result_of
from sweeps.run.directory import Run
from sweeps.run.locks import no_locks


def system(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def caused_by(cause: Exception) -> Exception:
    """An error of a library that was raised from another one."""
    error = RuntimeError("could not save")
    error.__cause__ = cause
    return error


CAUSES: list[tuple[Exception, str | None]] = [
    *((system(n), "place") for n in (errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EIO)),
    (FileNotFoundError(2, "No such file", "/scratch/cache"), "place"),
    (ConnectionResetError("peer"), "place"),
    (TimeoutError("the hub"), "place"),
    (ModuleNotFoundError("No module named 'openvino'"), "place"),
    (ImportError("libcudart.so.12: cannot open shared object file"), "place"),
    (caused_by(system(errno.ENOSPC)), "place"),
    (RuntimeError("[enforce fail at inline_container.cc] PytorchStreamWriter failed"), "place"),
    (RuntimeError("Found no NVIDIA driver on your system"), "place"),
    (RuntimeError("CUDA error: no CUDA-capable device is detected"), "place"),
    (RuntimeError("CUDA driver initialization failed, you might not have a CUDA gpu"), "place"),
    (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "place"),
    (RuntimeError("No CUDA GPUs are available"), "place"),
    (RuntimeError("measuring failed (exit 1): OSError: [Errno 28] No space left"), "place"),
    (RuntimeError("measuring failed (exit 1): ModuleNotFoundError: No module named 'x'"), "place"),
    (RuntimeError("measuring failed (exit -4): no message"), "place"),
    (RuntimeError("measuring failed (exit -7): no message"), "place"),
    (MemoryError("the measuring process was killed"), "out_of_memory"),
    (system(errno.ENOMEM), "out_of_memory"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), "out_of_memory"),
    (RuntimeError("measuring failed (exit 1): MemoryError: std::bad_alloc"), "out_of_memory"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_gpu_memory"),
    (RuntimeError("CUDA error: out of memory"), "out_of_gpu_memory"),
    (RuntimeError("measuring failed (exit 1): torch.OutOfMemoryError: CUDA"), "out_of_gpu_memory"),
    (RuntimeError("CUDA error: device-side assert triggered"), None),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"), None),
    (RuntimeError("measuring failed (exit 1): ValueError: bits"), None),
    (RuntimeError("measuring failed (exit -11): no message"), None),
    (ValueError("heads_keep must leave a head"), None),
    (KeyError("layers"), None),
    (AssertionError(), None),
]


@pytest.mark.parametrize(("error", "cause"), CAUSES, ids=lambda value: repr(value)[:60])
def test_an_error_is_the_trials_own_or_not(error: Exception, cause: str | None) -> None:
    assert cause_of_error(error) == cause
    result = result_of(error)
    assert result["state"] == ("LOST" if cause else "FAIL")
    assert result.get("lost_cause") == cause
    assert str(error) in result["error"]


@pytest.mark.parametrize(
    ("error", "state", "said"),
    [
        (system(errno.ESTALE), "PLACE_FAIL", "trouble of the place: OSError: [Errno 116] Stale"),
        (ImportError("no torch here"), "PLACE_FAIL", "trouble of the place: ImportError: no torch"),
        (RunStoppedError("5 trials: OSError: full"), "FAILED", "5 trials: OSError: full"),
        (no_locks("/lustre/study.lock"), "FAILED", "/lustre/study.lock: the file system gives no"),
        (system(errno.ENOSYS), "FAILED", "the file system gives no locks"),
        (NotImplementedError("no flock"), "FAILED", "the file system gives no locks"),
    ],
)
def test_a_job_says_in_its_record_what_ended_it(error: Exception, state: str, said: str) -> None:
    with pytest.raises(Stopped) as ended, clear_end():
        raise error
    assert ended.value.state == state and str(ended.value).startswith(said)
    assert "\n" not in str(ended.value) and len(str(ended.value)) <= 500


def test_what_is_an_error_of_the_code_stays_one() -> None:
    with pytest.raises(KeyError), clear_end():
        raise KeyError("a defect")


def test_a_prepare_job_on_a_broken_node_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ImportError("libtorch.so: cannot open shared object file")

    monkeypatch.setattr(prepare, "prepare_run", broken)
    with pytest.raises(Stopped) as ended:
        entry.prepare_job(str(run.path))
    assert ended.value.state == "PLACE_FAIL"
