"""Profiles: what is refused and with which words, what a section overrides, how resources grow."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.profile import KINDS, Profile, ProfileError, load_profile


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
