"""`lmopt doctor`: whether sweeps can run with a profile, looked at here and on the nodes.

Each line says what was found; a bad one says what to do about it.
"""

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from slurm.commands import SilentControllerError, cluster_facts, submission_room, why_refused
from slurm.profile import JobResources, Kind, Profile
from slurm.states import JobState, cancel, is_local, is_over, job_states, log_paths
from slurm.submit import SubmissionError, render, submit
from sweeps.preflight.lock_check import FREE, HELD, why_no_locks
from sweeps.preflight.node_probe import PACKAGES, probe_job
from sweeps.run.files import read_json
from sweeps.run.locks import LockError, locked

LOCK_REMEDY = "mount it with locks (NFS 4, Lustre -o flock), or run on another file system"
MIN_FREE_GB = 5
MIN_JOBS = 4  # prepare, one worker, finalize and its guard


@dataclass(frozen=True)
class Finding:
    """One line; `remedy` is empty if nothing is wrong."""

    what: str
    said: str
    remedy: str = ""


def examine(
    profile: Profile, folder: Path, wait_s: float, cache: Path | None = None
) -> Iterator[Finding]:
    """Look at this machine, the scheduler, and a node for each kind of job that differs.

    `folder` is where runs go, `cache` where their stages go: in `folder` too if it is not given.
    The probe jobs wait in the queue at most `wait_s`.
    """
    yield from _python()
    folder.mkdir(parents=True, exist_ok=True)
    yield from _disk(folder)
    yield from _locks("locks of runs", folder)
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        yield from _locks("locks of the cache", cache)
    if profile.scheduler == "slurm":
        refused = False
        for finding in _slurm(profile, folder):
            refused |= bool(finding.remedy)
            yield finding
        if refused:
            return
    for kind, resources in _kinds(profile).items():
        yield from _node(profile, kind, resources, folder, wait_s, cache or folder)


def _python() -> Iterator[Finding]:
    yield Finding("python", f"{platform.python_version()} {sys.executable}")
    try:
        wanted = [Requirement(text) for text in metadata.requires("lmopt") or []]
    except metadata.PackageNotFoundError:
        yield Finding("packages", "lmopt is not installed", "pip install -c constraints.txt -e .")
        return
    wrong = [bad for need in wanted if not need.marker and (bad := _unmet(need))]
    remedy = "pip install -c constraints.txt torch -e ." if wrong else ""
    yield Finding("packages", "; ".join(wrong) or f"all {len(wanted)} as asked for", remedy)


def _unmet(need: Requirement) -> str | None:
    try:
        found = metadata.version(need.name)
    except metadata.PackageNotFoundError:
        return f"{need.name} is missing"
    fits = need.specifier.contains(found, prereleases=True)
    return None if fits else f"{need.name} {found} is not {need.specifier}"


def _disk(folder: Path) -> Iterator[Finding]:
    free_gb = shutil.disk_usage(folder).free / 1e9
    remedy = f"give --dir on a file system with {MIN_FREE_GB} GB" if free_gb < MIN_FREE_GB else ""
    yield Finding("disk", f"{free_gb:.0f} GB free in {folder}", remedy)
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as made:
        source = Path(made) / "a"
        source.touch()
        try:
            os.link(source, source.with_name("b"))
            yield Finding("file system", "hard links work")
        except OSError as error:
            said = f"{error.strerror or error}: claims need hard links"
            yield Finding("file system", said, "give --dir on another file system, not FAT or FUSE")


def _locks(what: str, folder: Path) -> Iterator[Finding]:
    """Lock a file from two processes of this machine."""
    try:
        wrong = why_no_locks(folder)
    except OSError as error:
        wrong = str(error)
    said = wrong or f"keep a second process out in {folder}"
    yield Finding(what, said, LOCK_REMEDY if wrong else "")


def _slurm(profile: Profile, folder: Path) -> Iterator[Finding]:
    try:
        facts = cluster_facts(profile.account, profile.qos)
    except SilentControllerError as error:
        remedy = "run this on a login node; `scontrol ping` must answer (SLURM_CONF?)"
        yield Finding("slurm", str(error), remedy)
        return
    keeps = "with accounting" if facts.accounting else "without accounting: sacct is not needed"
    yield Finding("slurm", f"answers; {keeps}; arrays up to {facts.max_array_size} tasks")
    room = submission_room(profile.account, profile.qos)
    if room is not None:
        remedy = "wait, or `scancel` what you do not need" if room < MIN_JOBS else ""
        yield Finding("queue", f"you may submit {room} more jobs", remedy)
    for kind, resources in _kinds(profile).items():
        script = render(profile, kind, folder=folder, name="doctor", resources=resources)
        words = why_refused(script)
        remedy = f"correct what it names for {kind} in profile {profile.name}" if words else ""
        yield Finding(f"{kind} job", words or "Slurm would take it", remedy)


def _kinds(profile: Profile) -> dict[Kind, JobResources]:
    """Return one kind for each different set of resources."""
    kinds: list[Kind] = ["worker", "prepare", "finalize"]
    if profile.measure.model_fields_set:
        kinds.append("measure")
    found: dict[Kind, JobResources] = {}
    for kind in kinds:
        if profile.job(kind) not in found.values():
            found[kind] = profile.job(kind)
    return found


def _node(
    profile: Profile,
    kind: Kind,
    resources: JobResources,
    folder: Path,
    wait_s: float,
    cache: Path,
) -> Iterator[Finding]:
    """Run a small job as a trial's would run, and compare what it finds with what is here."""
    place = folder.absolute() / f".doctor-{kind}-{os.getpid()}"
    place.mkdir()
    locks = {place / "lock", cache.absolute() / f"{place.name}.lock"}
    try:
        with ExitStack() as held:
            with suppress(LockError):  # said already
                for path in sorted(locks):  # which the job must not get
                    held.enter_context(locked(path, 5))
            jobs = submit(
                profile, kind, probe_job, [(str(place), sorted(map(str, locks)))],
                folder=place / "jobs", name="doctor", resources=resources,
            )  # fmt: skip
            state = _wait(jobs, place / "jobs", wait_s)
        yield from _answer(kind, jobs[0], state, place, resources, wait_s)
    except SubmissionError as error:
        yield Finding(f"{kind} node", str(error), "change the profile")
    finally:
        shutil.rmtree(place, ignore_errors=True)
        for path in locks:
            path.unlink(missing_ok=True)


def _wait(jobs: list[str], folder: Path, wait_s: float) -> JobState:
    deadline = time.monotonic() + wait_s
    while not is_over(state := job_states(jobs, folder)[jobs[0]]):
        if time.monotonic() > deadline:
            cancel(jobs, folder)
            break
        time.sleep(0.5)
    return state


def _answer(
    kind: Kind, job: str, state: JobState, place: Path, resources: JobResources, wait_s: float
) -> Iterator[Finding]:
    what = f"{kind} node"
    if not is_over(state):
        full = "is the partition full or down? `sinfo`"
        if is_local(job) and state == "PENDING":
            full = "other jobs of lmopt on this machine have its cores: wait for them"
        remedy = f"{full}; or wait longer with --wait-s"
        yield Finding(what, f"no answer in {wait_s:.0f} s, the job was {state.lower()}", remedy)
        return
    found = read_json(place / "probe.json")
    if found is None and state == "DONE":
        remedy = "give --dir, and --run-dir to submit, on a file system that the nodes share"
        yield Finding(what, f"what the job wrote to {place} is not here", remedy)
        return
    if found is None:
        log = log_paths(job, place / "jobs")[1]
        lines = log.read_text(errors="replace").split("\n") if log.exists() else []
        last = next((line for line in reversed(lines) if line.strip()), "no log was written here")
        remedy = "is this Python's folder on a file system that the nodes share? see `setup:`"
        yield Finding(what, f"the job ended as {state}: {last}", remedy)
        return
    yield from _compare(what, found, resources)


def _compare(what: str, found: Mapping[str, Any], resources: JobResources) -> Iterator[Finding]:
    bound = "" if found["cores"] <= resources.cpus else f"; jobs are not bound to {resources.cpus}"
    yield Finding(what, f"{found['node']}: {found['cores']} cores of {found['processor']}{bound}")
    here = {name: metadata.version(name) for name in PACKAGES}
    other = {n: v for n, v in found["versions"].items() if here[n] != v}
    remedy = "use one environment, on a file system that the nodes share" if other else ""
    yield Finding(f"{what}, python", f"{found['python']}; {other or 'same packages'}", remedy)
    wrong = {path: said for path, said in found["locks"].items() if said != HELD}
    for path, said in wrong.items():
        given = "a lock held here was given there as well" if said == FREE else said
        yield Finding(f"{what}, locks", f"{path}: {given}", LOCK_REMEDY)
    if not wrong:
        yield Finding(f"{what}, locks", "reach across nodes")
    if resources.gpus or resources.gres:
        remedy = "" if found["gpu"] else "load CUDA in `setup:`, install a CUDA build of torch"
        yield Finding(f"{what}, GPU", found["gpu"] or "torch sees none", remedy)
