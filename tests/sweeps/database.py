"""A PostgreSQL server of the tests' own: a private folder, a Unix socket, no port."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

_SKIP = "NO POSTGRESQL HERE, NOTHING TESTED ON IT: "


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a server and yield the URL of an empty database; skip where there is none."""
    folders = sorted(str(path) for path in Path("/usr/lib/postgresql").glob("*/bin"))
    programs = os.pathsep.join([os.environ.get("PATH", os.defpath), *folders])
    initdb, ctl = (shutil.which(name, path=programs) for name in ("initdb", "pg_ctl"))
    if initdb is None or ctl is None:
        pytest.skip(_SKIP + "`apt-get install postgresql`")
    if find_spec("psycopg") is None:
        pytest.skip(_SKIP + "`pip install 'lmopt[postgresql]'`")
    # Not below tmp_path: the path of a Unix socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data = folder / "data"

    def call(*command: str) -> None:
        subprocess.run([*user, *command], check=True, capture_output=True, cwd=folder)

    try:
        call(initdb, f"--pgdata={data}", "--username=lmopt", "--auth=trust", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        log = f"--log={folder}/log"
        call(ctl, "start", "--wait", f"--pgdata={data}", f"--options={options}", log)
        try:
            yield f"postgresql+psycopg://lmopt@/postgres?host={folder}"
        finally:
            call(ctl, "stop", "--mode=immediate", f"--pgdata={data}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
