"""Submission and states against commands that answer as Slurm does and write down their calls."""

import os
import time
from pathlib import Path

import pytest

from slurm import commands as scheduler
from slurm.profile import Profile
from slurm.records import Exit, Job, write_record
from slurm.states import JobState, cancel, job_states
from slurm.submit import SubmissionError, render, submit
from tests.slurm.fake_slurm import SCONTROL, FakeSlurm

SILENT = "squeue: error: slurm_load_jobs: Unable to contact slurm controller (connect failure)"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    commands = tmp_path / "commands"
    commands.mkdir()
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return FakeSlurm(commands)


def _profile(**values: object) -> Profile:
    return Profile.model_validate({"scheduler": "slurm", "time_min": 30, **values})


def _calls(count: int) -> list[tuple[int]]:
    return [(index,) for index in range(count)]


@pytest.mark.parametrize(
    ("tasks", "mine", "sizes"), [(4, None, [4]), (10, None, [4, 4, 2]), (3, 1, [1, 1, 1])]
)
def test_arrays_are_split_and_share_the_parallelism(
    fake: FakeSlurm, folder: Path, tasks: int, mine: int | None, sizes: list[int]
) -> None:
    profile = _profile(max_array_size=mine, array_parallelism=5)
    job_ids = submit(profile, "worker", print, _calls(tasks), folder=folder, name="t")
    assert [len([i for i in job_ids if i.split("_")[0] == str(100 + k)]) for k in range(9)][
        : len(sizes)
    ] == sizes
    assert len(set(job_ids)) == tasks
    assert sorted(folder.glob("*_submitted.pkl")) == sorted(
        folder / f"{job_id}_submitted.pkl" for job_id in job_ids
    )
    scripts = [path.read_text() for path in sorted(folder.glob("1*_submission.sh"))]
    assert render(profile, "worker", folder=folder, name="t", tasks=tasks) == "\n\n".join(scripts)
    limits = [line.split("%")[1] for s in scripts for line in s.splitlines() if "--array" in line]
    assert mine == 1 or sum(int(limit) for limit in limits) == min(5, tasks)


def test_a_refused_array_leaves_nothing_and_says_what_slurm_said(
    fake: FakeSlurm, folder: Path
) -> None:
    submit(_profile(), "prepare", print, _calls(1), folder=folder, name="t")
    before = sorted(folder.iterdir())
    (fake.folder / "full").write_text("103")
    with pytest.raises(SubmissionError) as error:
        submit(_profile(), "worker", print, _calls(11), folder=folder, name="my sweep")
    assert str(error.value) == (
        "Slurm refused the worker jobs of my sweep: QOSMaxSubmitJobPerUserLimit;"
        " Batch job submission failed: Job violates limits"
    )
    assert error.value.refusal == "passing"
    cancelled = set(" ".join(fake.calls("scancel")).split())
    assert cancelled == {f"{array}_{task}" for array in (101, 102) for task in range(4)}
    assert sorted(folder.iterdir()) == before


def test_a_job_submits_without_the_variables_of_its_own(
    fake: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "77")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    submit(_profile(), "worker", print, _calls(2), folder=tmp_path / "jobs", name="t")
    inherited = (fake.folder / "environment").read_text()
    assert "SLURM_CONF=/etc/slurm.conf" in inherited
    assert "SLURM_MEM_PER_NODE" not in inherited
    assert "SLURM_JOB_ID" not in inherited
    assert os.environ["SLURM_MEM_PER_NODE"] == "77"


def test_the_script_holds_what_the_profile_says(fake: FakeSlurm, tmp_path: Path) -> None:
    profile = _profile(
        partition="gpu",
        account="a b",
        mem_gb=1.5,
        gpus=2,
        cpus=3,
        requeue=False,
        sbatch={"exclusive": True, "hint": "nomultithread"},
        environment={"A": "it's"},
    )
    script = render(profile, "worker", folder=tmp_path, name="t", after=["5_0", "6"])
    for line in (
        "#SBATCH --partition=gpu",
        "#SBATCH --account='a b'",
        "#SBATCH --mem=1536M",
        "#SBATCH --gpus-per-node=2",
        "#SBATCH --exclusive",
        "#SBATCH --hint=nomultithread",
        "#SBATCH --no-requeue",
        "#SBATCH --dependency=afterok:5_0:6",
        "#SBATCH --kill-on-invalid-dep=yes",
        "export PYTHONSAFEPATH=1",
        "export A='it'\"'\"'s'",
        "#SBATCH --signal=B:USR2@60",
    ):
        assert line in script.splitlines()
    assert "wckey" not in script
    assert script.splitlines()[-1].startswith("exec ")
    several = render(_profile(nodes=2, cpus=3), "worker", folder=tmp_path, name="t")
    assert several.splitlines()[-1].startswith("srun ")
    assert " --cpus-per-task=3 " in several.splitlines()[-1]
    assert "#SBATCH --signal=USR2@60" in several


def test_a_whole_array_is_one_dependency(fake: FakeSlurm, tmp_path: Path) -> None:
    workers = submit(_profile(), "worker", print, _calls(4), folder=tmp_path, name="t")
    for after, named in ((workers, "100"), (workers[:2], "100_0:100_1")):
        script = render(_profile(), "finalize", folder=tmp_path, name="t", after=after)
        assert f"--dependency=afterok:{named}\n" in script


def test_a_folder_that_slurm_would_misread_is_refused(fake: FakeSlurm, tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="must hold no %"):
        submit(_profile(), "worker", print, _calls(1), folder=tmp_path / "100%j", name="t")


@pytest.mark.parametrize(
    ("slurm_state", "record", "state"),
    [
        ("RUNNING", None, "RUNNING"),
        ("COMPLETING", None, "RUNNING"),
        ("PENDING", "CANCELLED", "PENDING"),  # preempted: SIGTERM, then the queue again
        ("COMPLETED", "DONE", "DONE"),
        ("COMPLETED", None, "LOST"),
        ("FAILED", "FAILED", "FAILED"),
        ("FAILED", "TIMEOUT", "TIMEOUT"),
        ("FAILED", None, "LOST"),  # kill -9
        ("OUT_OF_MEMORY", "FAILED", "OUT_OF_MEMORY"),  # a child died of it, Python only saw that
        ("OUT_OF_MEMORY", "DONE", "DONE"),
        ("TIMEOUT", "CANCELLED", "TIMEOUT"),
        ("NODE_FAIL", None, "NODE_FAIL"),
        ("CANCELLED", None, "CANCELLED"),
        (None, "FAILED", "FAILED"),  # slurmctld has forgotten it
        (None, None, "LOST"),
    ],
)
def test_states(
    fake: FakeSlurm, tmp_path: Path, slurm_state: str | None, record: str | None, state: JobState
) -> None:
    if record:
        write_record(Exit("7_1", record, None, 0, time.time(), 1.0, 1.0, 1), tmp_path)  # type: ignore[arg-type]
    answer = f"echo '7_1|{slurm_state}|None'" if slurm_state else ""
    fake.answers("squeue", f"echo '7_0|RUNNING|None'\n{answer}")
    assert job_states(["7_1", "7_0"], tmp_path) == {"7_1": state, "7_0": "RUNNING"}


@pytest.mark.parametrize(
    "reason",
    [
        "JobHeldUser",
        "launch failed requeued held",
        "PartitionTimeLimit",
        "BadConstraints",
        "AssocMaxWallDurationPerJobLimit",
        "QOSMaxMemoryPerJob",
    ],
)
def test_a_job_that_waits_for_a_person_is_told_apart(
    fake: FakeSlurm, tmp_path: Path, reason: str
) -> None:
    fake.answers("squeue", f"echo '7|PENDING|{reason}'; echo '8|PENDING|Priority'")
    assert job_states(["7", "8"], tmp_path) == {"7": "HELD", "8": "PENDING"}


@pytest.mark.parametrize("reason", ["Resources", "DependencyNeverSatisfied", "QOSMaxJobsPerUser"])
def test_a_job_that_waits_for_its_turn_waits(fake: FakeSlurm, tmp_path: Path, reason: str) -> None:
    fake.answers("squeue", f"echo '7|PENDING|{reason}'")
    assert job_states(["7"], tmp_path) == {"7": "PENDING"}


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (
            "QOSMaxSubmitJobPerUserLimit; Batch job submission failed: Job violates limits",
            "passing",
        ),
        ("Batch job submission failed: Unable to contact slurm controller", "passing"),
        ("Batch job submission failed: Socket timed out on send/recv operation", "passing"),
        ("Batch job submission failed: Requested time limit is invalid", "request"),
        ("Batch job submission failed: Memory required by task is not available", "request"),
        ("Batch job submission failed: Requested node configuration is not available", "nodes"),
        ("QOSMaxWallDurationPerJobLimit; Batch job submission failed: Job violates", "request"),
    ],
)
def test_a_full_queue_is_told_from_a_job_that_is_too_large(words: str, refusal: str) -> None:
    assert scheduler.refusal_of(words) == refusal


def test_states_of_many_jobs_are_one_call(fake: FakeSlurm, tmp_path: Path) -> None:
    job_ids = [f"{array}_{task}" for array in range(100, 110) for task in range(100)]
    fake.answers("squeue", "".join(f"echo '{job_id}|RUNNING|None'\n" for job_id in job_ids))
    assert set(job_states(job_ids, tmp_path).values()) == {"RUNNING"}
    assert len(fake.calls("squeue")) == 1
    assert not fake.calls("sacct")


def test_accounting_is_asked_only_for_what_is_forgotten(fake: FakeSlurm, tmp_path: Path) -> None:
    fake.answers("squeue", "echo '8|RUNNING|None'")
    fake.answers("sacct", "echo '9|CANCELLED by 0'; echo '10_1|NODE_FAIL'")
    states = job_states(["8", "9", "10_1"], tmp_path)
    assert states == {"8": "RUNNING", "9": "CANCELLED", "10_1": "NODE_FAIL"}
    assert [call.split("--jobs=")[1] for call in fake.calls("sacct")] == ["10,9"]


def test_a_silent_controller_kills_nobody(fake: FakeSlurm, tmp_path: Path) -> None:
    fake.answers("squeue", f"echo '{SILENT}' >&2; exit 1")
    started = Job("1", "slurm", "", 1, 0.0, "h", "n1", (), 1, 0, 1.0, None)
    write_record(started, tmp_path)
    write_record(Exit("2", "CANCELLED", None, 0, 0.0, 0.0, 0.0, 0), tmp_path)
    write_record(Exit("3", "DONE", None, 0, 0.0, 0.0, 0.0, 0), tmp_path)
    states = job_states(["1", "2", "3"], tmp_path)
    assert states == {"1": "RUNNING", "2": "PENDING", "3": "DONE"}
    fake.answers("scancel", f"echo '{SILENT}' >&2; exit 1")
    with pytest.raises(scheduler.SilentControllerError):
        cancel(["1"], tmp_path)


NO_ANSWER = {
    "killed": "kill -9 $$",
    "no words": "exit 1",
    "no configuration": "echo 'squeue: fatal: Could not establish a configuration' >&2; exit 1",
    "no plugin": "echo 'squeue: fatal: failed to initialize auth plugin' >&2; exit 1",
    "munge is down": "echo 'squeue: error: Munge encode failed: Socket error' >&2; exit 1",
    "a missing library": "echo 'squeue: error while loading shared libraries' >&2; exit 127",
    "half a table": "echo '2|RUNNING|None'; echo 'squeue: error: out of luck' >&2; exit 1",
}


@pytest.mark.parametrize("script", NO_ANSWER.values(), ids=NO_ANSWER.keys())
def test_a_command_that_fails_says_nothing_of_any_job(
    fake: FakeSlurm, tmp_path: Path, script: str
) -> None:
    """Its jobs would be taken over while they live, and each trial would have two writers."""
    fake.answers("squeue", script)
    write_record(Job("1", "slurm", "", 1, 0.0, "h", "n1", (), 1, 0, 1.0, None), tmp_path)
    heard: list[str] = []
    assert job_states(["1", "2"], tmp_path, heard.append) == {"1": "RUNNING", "2": "PENDING"}
    assert len(heard) == 1 and heard[0] and "\n" not in heard[0]


@pytest.mark.parametrize("broken", ["missing", "not executable", "not a program"])
def test_a_command_that_cannot_run_says_nothing_of_any_job(
    fake: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setenv("PATH", str(fake.folder))
    path = fake.folder / "squeue"
    if broken == "missing":
        path.unlink()
    elif broken == "not executable":
        path.chmod(0o644)
    else:
        path.write_bytes(b"\0")
    with pytest.raises(scheduler.SilentControllerError, match="squeue"):
        scheduler.queue_states(["1"])


def test_a_command_that_hangs_says_nothing_of_any_job(
    fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "_ANSWER_TIMEOUT_S", 0.2)
    fake.answers("squeue", "exec sleep 30")
    with pytest.raises(scheduler.SilentControllerError, match="squeue gave no answer"):
        scheduler.queue_states(["1"])


def test_jobs_that_slurm_does_not_know_are_dead(fake: FakeSlurm, tmp_path: Path) -> None:
    """The one failure of squeue that is an answer, and only of the job that it is about."""
    fake.answers(
        "squeue",
        """
        case "$*" in
          *--jobs=8) echo '8|RUNNING|None' ;;
          *) echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1 ;;
        esac
        """,
    )
    assert job_states(["7"], tmp_path) == {"7": "LOST"}
    assert job_states(["7", "8"], tmp_path) == {"7": "LOST", "8": "RUNNING"}


def test_no_command_that_fails_is_taken_for_a_yes(fake: FakeSlurm) -> None:
    for name in ("scontrol", "sbatch", "scancel"):
        fake.answers(name, "kill -9 $$")
    for question in (
        scheduler.max_array_size,
        lambda: scheduler.why_refused("#!/bin/bash"),
        lambda: scheduler.cancel_jobs(["1"]),
    ):
        with pytest.raises(scheduler.SilentControllerError, match="ended by signal 9"):
            question()


# A user of two accounts, whose default one has a QOS of its own.
SACCTMGR = """
case "$*" in
  *"show user "*DefaultAccount) echo chemistry ;;
  *"show assoc "*account=chemistry*DefaultQOS) echo short ;;
  *"show assoc "*DefaultQOS) echo normal ;;
  *"show assoc "*account=chemistry*) echo '50|' ;;
  *"show assoc "*) echo '2|' ;;
  *"show qos "*name=short*) echo '7|' ;;
  *"show qos "*) echo '1|' ;;
esac
"""


@pytest.mark.parametrize(
    ("account", "qos", "limit"),
    [(None, None, 7), ("chemistry", None, 7), ("physics", None, 1), (None, "long", 1)],
)
def test_the_room_in_the_queue_is_that_of_the_users_own_account_and_qos(
    fake: FakeSlurm, account: str | None, qos: str | None, limit: int
) -> None:
    fake.answers("sacctmgr", SACCTMGR)
    fake.answers("scontrol", f"{SCONTROL}\necho 'AccountingStorageType = x/slurmdbd'")
    fake.answers("squeue", "")
    assert scheduler.submission_room(account, qos) == limit


def test_cancel_minds_only_what_slurm_really_refuses(fake: FakeSlurm, tmp_path: Path) -> None:
    fake.answers("scancel", "echo 'scancel: error: Kill job error on job id 5: Invalid job id' >&2")
    cancel(["5"], tmp_path)
    fake.answers("scancel", "echo 'scancel: error: Kill job error: Access/permission denied' >&2")
    with pytest.raises(RuntimeError, match="permission denied"):
        cancel(["5"], tmp_path)
