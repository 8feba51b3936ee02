"""Profiles: what is refused and with which words, what a section overrides, how resources grow."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.durations import duration_text, parse_minutes
from slurm.profile import FINALIZE_MIN, GUARD_MIN, KINDS, Profile, ProfileError, load_profile


def _load(tmp_path: Path, text: str) -> Profile:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load_profile(path)


@pytest.mark.parametrize("name", ["local", "devcluster", "cpu_cluster", "gpu_preemptible"])
def test_built_in_profiles_load_and_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    profile = load_profile(name)
    assert _load(tmp_path, profile.to_yaml()) == profile
    assert all(profile.job(kind).cpus >= 1 for kind in KINDS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scheduler: slurm\ntime_min: 5\npartitoin: x", "partitoin: did you mean partition?"),
        ("scheduler: local\nworker: {cpu: 2}", "worker.cpu: did you mean cpus?"),
        ("scheduler: local\nretries: {time_out: 2}", "retries.time_out: did you mean timeout?"),
        ("scheduler: local\nworker: {cpus: 0}", "worker.cpus: must be greater than"),
        ("scheduler: slurm", "time_min is needed on Slurm, got none for prepare: add"),
        ("scheduler: pbs", "scheduler: must be 'slurm' or 'local', got 'pbs'"),
        ("partition: x", "scheduler is missing"),
        ("scheduler: local\nenvironment: {A-B: 1}", "'A-B' is not the name of an environment"),
        ('scheduler: local\naccount: "a\\n#SBATCH --uid=0"', "account"),
        ("just words", "must hold keys and values"),
        ("a: [", "is not YAML"),
    ],
)
def test_mistakes_are_named_in_one_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as error:
        _load(tmp_path, text)
    assert words in str(error.value)
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_profile_names_those_that_are_there() -> None:
    with pytest.raises(ProfileError, match=r"cpu_cluster, devcluster, gpu_preemptible, local"):
        load_profile("nowhere")


def test_a_section_overrides_single_keys(tmp_path: Path) -> None:
    profile = _load(
        tmp_path,
        "scheduler: slurm\ntime_min: 60\ncpus: 4\nsetup: [a]\nenvironment: {A: 1, B: 2}\n"
        "worker: {cpus: 1, setup: [b], environment: {B: 3}}",
    )
    worker = profile.job("worker")
    assert (worker.cpus, worker.time_min, worker.setup) == (1, 60, ["b"])
    assert worker.environment == {"A": "1", "B": "3"}
    assert profile.job("measure").cpus == 4


@given(times=st.integers(0, 30), limit=st.none() | st.integers(8, 1000))
def test_memory_grows_with_each_failure_up_to_its_limit(times: int, limit: int | None) -> None:
    profile = Profile.model_validate(
        {"scheduler": "local", "mem_gb": 8, "retries": {"memory_growth": 2, "max_mem_gb": limit}}
    )
    grown = profile.job("worker", out_of_memory=times).mem_gb
    assert grown == min(8 * 2**times, limit or float("inf"))


def test_time_grows_and_failed_nodes_are_excluded(tmp_path: Path) -> None:
    profile = _load(tmp_path, "scheduler: slurm\ntime_min: 10\nexclude: n9\n")
    again = profile.job("worker", timeouts=2, exclude=["n2", "n1"])
    assert (again.time_min, again.exclude) == (40, "n9,n1,n2")


@pytest.mark.parametrize(
    ("written", "minutes"),
    [
        ("240", 240),
        ("4:00:00", 240),  # 14400 to YAML 1.1, which reads it to the base 60
        ("04:00:00", 240),
        ("'4:00:00'", 240),
        ("30:00", 30),
        ("0:30", 1),
        ("1:00:01", 61),
        ("1-00:00", 24 * 60),
        ("2-12", 60 * 60),
        ("1-02:03:04", 24 * 60 + 124),
    ],
)
def test_a_time_limit_is_what_slurm_takes_it_for(
    written: str, minutes: int, tmp_path: Path
) -> None:
    text = f"scheduler: slurm\ntime_min: {written}\nretries: {{max_time_min: {written}}}"
    profile = _load(tmp_path, text)
    assert profile.job("worker").time_min == profile.retries.max_time_min == minutes
    assert _load(tmp_path, profile.to_yaml()) == profile


@pytest.mark.parametrize("written", ["4h", "1:2:3:4", "-5", "0", "0:00:00", "1.5", "yes", "[1]"])
def test_what_is_no_time_limit_is_refused(written: str, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"time_min.*got"):
        _load(tmp_path, f"scheduler: slurm\ntime_min: {written}")


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        (5, "5 min (0:05:00)"),
        (240, "240 min (4:00:00)"),
        (14400, "14400 min (10-00:00:00)"),
        (24 * 60 + 61, "1501 min (1-01:01:00)"),
    ],
)
def test_a_time_limit_is_said_both_ways(minutes: int, text: str) -> None:
    assert duration_text(minutes) == text
    assert parse_minutes(text.split("(")[1].rstrip(")")) == minutes


def test_numbers_with_colons_stay_text_elsewhere_too(tmp_path: Path) -> None:
    profile = _load(tmp_path, "scheduler: local\nenvironment: {PORTS: 10:30, N: 7, AT: 1:30.5}")
    assert profile.environment == {"PORTS": "10:30", "N": "7", "AT": "1:30.5"}


@pytest.mark.parametrize("option", ["mem", "mem-per-cpu", "mem_per_cpu", "mem-per-gpu"])
def test_memory_that_cannot_grow_is_refused(option: str, tmp_path: Path) -> None:
    """After out of memory the trial would be tried again with the same."""
    text = f"scheduler: slurm\ntime_min: 10\nsbatch: {{{option}: 4G}}"
    with pytest.raises(ProfileError, match=rf"sbatch.{option} cannot grow .* got '4G' .* mem_gb"):
        _load(tmp_path, text)
    with pytest.raises(ProfileError, match="both say the memory of a worker job"):
        _load(tmp_path, f"{text}\nworker: {{mem_gb: 4}}\nretries: {{memory_growth: 1}}")
    allowed = _load(tmp_path, f"{text}\nretries: {{memory_growth: 1}}")
    assert allowed.job("worker", out_of_memory=2).sbatch == {option: "4G"}


def test_a_finalizer_and_its_guard_do_not_ask_for_days(tmp_path: Path) -> None:
    """Or they wait in the queue as long as the workers, behind which they stand."""
    profile = _load(tmp_path, "scheduler: slurm\ntime_min: 2-00\ncpus: 8")
    assert profile.job("worker").time_min == 2880
    assert profile.job("finalize").time_min == FINALIZE_MIN
    assert profile.job("finalize", timeouts=1).time_min == 2 * FINALIZE_MIN
    assert profile.job("finalize").cpus == 8, "it times the front"
    assert (profile.guard().time_min, profile.guard().cpus) == (GUARD_MIN, 1)
    short = _load(tmp_path, "scheduler: slurm\ntime_min: 10")
    assert short.job("finalize").time_min == short.guard().time_min == 10
    said = _load(tmp_path, "scheduler: slurm\ntime_min: 10\nfinalize: {time_min: 500}")
    assert (said.job("finalize").time_min, said.guard().time_min) == (500, GUARD_MIN)
    assert _load(tmp_path, "scheduler: local").guard().time_min is None
