"""The packages that a development cluster needs."""

import os
import shutil
import subprocess

from slurm.errors import UserError

_SEARCH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin:/sbin"
_PACKAGES = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "munged": "munge",
}
_ACCOUNTING_PACKAGES = {
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
}


class MissingPackagesError(UserError):
    """Slurm's packages are not on this machine. The message names the command to install them."""


def program(name: str) -> str:
    """Return the path of a program, which may be outside the user's PATH.

    Raises:
        MissingPackagesError: The program is not installed.
    """
    path = shutil.which(name, path=_SEARCH)
    if path is None:
        check_packages(accounting=name in _ACCOUNTING_PACKAGES)
        raise MissingPackagesError(f"{name} is not on this machine")
    return path


def missing_packages(*, accounting: bool) -> list[str]:
    """Return Debian's names of the packages that a cluster needs and this machine lacks."""
    wanted = _PACKAGES | (_ACCOUNTING_PACKAGES if accounting else {})
    missing = {
        package for name, package in wanted.items() if shutil.which(name, path=_SEARCH) is None
    }
    # Debian has Slurm's plugins in a separate package without a program to look for.
    return sorted(missing | ({"slurm-wlm-basic-plugins"} if missing else set()))


def check_packages(*, accounting: bool) -> None:
    """Check that all packages are installed.

    Raises:
        MissingPackagesError: Some are missing; the message has the command to install them.
    """
    missing = missing_packages(accounting=accounting)
    if missing:
        raise MissingPackagesError(
            f"the development cluster needs {', '.join(missing)}: on Debian or Ubuntu run"
            f" `sudo apt-get install --no-install-recommends {' '.join(missing)}`,"
            " or as root `python -m slurm.devcluster install`"
        )


def install_packages() -> None:
    """Install the missing packages with apt-get.

    Raises:
        MissingPackagesError: The user is not root, or the machine has no apt-get.
    """
    missing = missing_packages(accounting=True)
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        check_packages(accounting=True)
    # Otherwise Debian starts the servers with the system's own configuration.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        subprocess.run(["apt-get", "--quiet", *arguments], env=environment, check=True)
