"""A headless Chromium for the tests that look at pages: `python -m tests.browser` installs it.

Tests install nothing themselves: where there is no Chromium they are skipped, loudly, or fail where
`make test` installs it (see tests/absent.py).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.absent import absent

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# Without a sandbox for root; no sound, update, look-up or call home of any kind.
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1400,1300",
)  # fmt: skip
PAGE_MS = 20_000  # virtual: a page that is done sooner takes no longer


def program() -> str | None:
    """Return the path of a Chromium, None if there is none."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def dom(url: str, tmp_path: Path) -> str:
    """Return a page as its scripts have made it."""
    path = program()
    if path is None:
        absent("NO CHROMIUM HERE, NO PAGE LOOKED AT: see `python -m tests.browser`")
    profile = f"--user-data-dir={tmp_path / 'chromium'}"
    done = subprocess.run(
        [path, *OPTIONS, profile, f"--virtual-time-budget={PAGE_MS}", "--dump-dom", url],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def screenshot(url: str, tmp_path: Path) -> Path:
    """Return a picture of a page as its scripts have made it."""
    path = program()
    if path is None:
        absent("NO CHROMIUM HERE, NO PAGE LOOKED AT: see `python -m tests.browser`")
    picture = tmp_path / "page.png"
    done = subprocess.run(
        [path, *OPTIONS, f"--user-data-dir={tmp_path / 'chromium'}",
         f"--virtual-time-budget={PAGE_MS}", f"--screenshot={picture}", url],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0 and picture.exists(), done.stderr
    return picture


def install() -> None:
    """Install Chromium with apt-get if it is missing; root on Debian or Ubuntu."""
    if program() is not None:
        return
    command = "apt-get install --no-install-recommends chromium"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"error: no Chromium for the tests of pages: on Debian run `sudo {command}`")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        subprocess.run(["apt-get", "--quiet", *arguments], env=environment, check=True)


if __name__ == "__main__":
    install()
