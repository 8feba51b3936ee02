"""Execution of a notebook on given runs, in a kernel of this Python."""

import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SOCKET_PATH = 90  # of the folder: with its name a socket's path must stay under 104 characters
TIMEOUT_S = 1800  # of a cell; a login node under load is slow, a hung kernel must still end
FOLDER = Path(__file__).parents[1] / "notebooks"


def notebook_paths() -> list[Path]:
    """Return the notebooks of a report, in their order."""
    return sorted(FOLDER.glob("*.ipynb"))


def run_notebook(path: Path, parameters: Mapping[str, Any]) -> Any:
    """Execute a notebook with `parameters` set after its cell tagged "parameters"; return it.

    Raises:
        Exception: nbclient's, when a cell fails, the kernel dies or a cell takes too long.
    """
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with _private_folders() as folder:
        manager = AsyncKernelManager(
            kernel_name="lmopt",
            connection_file=str(folder / "kernel.json"),
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(_kernel_spec(folder))]),
            **_address(folder),
        )
        client = NotebookClient(
            _with_parameters(notebook, parameters),
            km=manager,
            timeout=TIMEOUT_S,
            resources={"metadata": {"path": str(folder)}},
        )
        with _signals_kept():
            client.execute(cleanup_kc=True)  # a manager that is given stays up otherwise
    return notebook


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Give the process its own signal handlers back: nbclient's loop leaves the defaults.

    A job that is cancelled after its report would otherwise leave no exit record.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    wakeup = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:  # one that was not set from Python
                signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)


def why_failed(error: Exception) -> str:
    """Return the reason in one line: the cell's own error without its traceback."""
    name, value = getattr(error, "ename", ""), getattr(error, "evalue", "")
    text = f"{name}: {value}" if name else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]


def _with_parameters(notebook: Any, parameters: Mapping[str, Any]) -> Any:
    import nbformat

    tagged = [
        index
        for index, cell in enumerate(notebook.cells)
        if "parameters" in cell.metadata.get("tags", [])
    ]
    source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(tagged[0] + 1, cell)
    return notebook


def _address(folder: Path) -> dict[str, str]:
    """Return where the kernel listens: at private sockets, or at ports if a path is too long.

    The path of the sockets is absolute: Jupyter's own is relative, and the kernel works elsewhere.
    """
    if len(str(folder)) < _SOCKET_PATH:
        return {"transport": "ipc", "ip": str(folder / "k")}
    return {"transport": "tcp"}


def _kernel_spec(folder: Path) -> Path:
    """Write the specification of a kernel of this Python; a user's "python3" may be another."""
    place = folder / "kernels" / "lmopt"
    place.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "lmopt", "language": "python"}
    (place / "kernel.json").write_text(json.dumps(spec))
    return place.parent


@contextmanager
def _private_folders() -> Iterator[Path]:
    """Keep Jupyter's and IPython's files in a temporary folder: a job's home may be read-only."""
    names = {"JUPYTER_RUNTIME_DIR": "r", "IPYTHONDIR": "i"}
    before = {name: os.environ.get(name) for name in names}
    with tempfile.TemporaryDirectory(prefix="lmopt-") as made:
        os.environ.update({name: str(Path(made) / short) for name, short in names.items()})
        try:
            yield Path(made)
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
