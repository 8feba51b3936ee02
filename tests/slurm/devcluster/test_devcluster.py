"""The development cluster where it cannot run, and what it writes before it does."""

from pathlib import Path

import pytest

from slurm.devcluster import cluster
from slurm.devcluster import packages as install
from slurm.devcluster.__main__ import main
from slurm.devcluster.configuration import ClusterConfig, free_ports, write_configuration

CONFIG = ClusterConfig(("n1", "n2"), 1, 500, 11, True, True, 20001, 20002, (20003, 20004))


def test_missing_packages_are_named_with_the_line_that_installs_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "_SEARCH", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["devcluster", "up", "--dir", str(tmp_path / "dev")])
    monkeypatch.setattr(cluster, "_SOCKET_PATH_LIMIT", 4096)
    with pytest.raises(SystemExit) as exit:
        main()
    words = str(exit.value)
    assert words.startswith("error: the development cluster needs mariadb-server, munge, ")
    assert "apt-get install --no-install-recommends mariadb-server munge slurm-client" in words
    assert "\n" not in words
    assert not (tmp_path / "dev").exists()


@pytest.mark.parametrize("name", ["deep" * 30, "a b", "100%"])
def test_a_folder_that_slurm_cannot_use_is_refused(name: str) -> None:
    folder = Path("/tmp") / name
    with pytest.raises(cluster.ClusterError, match="use --dir"):
        cluster.up(folder, CONFIG)
    assert not folder.exists()


def test_a_folder_of_something_else_is_not_taken_and_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_SOCKET_PATH_LIMIT", 4096)
    kept = tmp_path / "thesis.tex"
    kept.touch()
    for folder in (tmp_path, kept):
        with pytest.raises(cluster.ClusterError, match="no cluster's: give --dir a new or empty"):
            cluster.up(folder, CONFIG)
    cluster.down(tmp_path)
    assert list(tmp_path.iterdir()) == [kept]


def test_the_configuration_is_private_and_on_loopback(tmp_path: Path) -> None:
    write_configuration(tmp_path, CONFIG)
    assert (tmp_path / "slurmdbd.conf").stat().st_mode & 0o777 == 0o600
    text = (tmp_path / "slurm.conf").read_text()
    lines = dict(line.split("=", 1) for line in text.splitlines())
    assert lines["SlurmctldHost"].endswith(")") and "(127." in lines["SlurmctldHost"]
    for key in ("StateSaveLocation", "SlurmdSpoolDir", "SlurmctldPidFile", "SlurmdPidFile"):
        assert lines[key].startswith(str(tmp_path))
    assert text.count("NodeAddr=127.") == 2
    assert "MaxArraySize=11\n" in text


def test_ports_are_free_and_distinct() -> None:
    assert len(set(free_ports(20))) == 20


def test_status_and_nodes_of_no_cluster(tmp_path: Path) -> None:
    assert cluster.status(tmp_path) == f"no cluster in {tmp_path}"
    cluster.down(tmp_path)
    with pytest.raises(cluster.ClusterError, match="no node n1"):
        cluster.stop_node(tmp_path, "n1")
