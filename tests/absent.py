"""Programs that this machine lacks: a loud skip, or a failure where `make test` installs them."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

DEBIAN = Path("/etc/debian_version")


def must_be_installed() -> bool:
    """Say whether `make test` can install Debian packages here and a CI run relies on that."""
    return os.environ.get("CI") == "true" and os.geteuid() == 0 and DEBIAN.exists()


def absent(said: str) -> NoReturn:
    """Skip the test, whose reason is printed at the end; in CI on Debian as root fail it."""
    if must_be_installed():
        pytest.fail(f"{said} (CI=true: `make test` installs it on Debian as root)", pytrace=False)
    pytest.skip(said)
