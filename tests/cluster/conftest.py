"""Hosts in network namespaces and a Slurm on them, brought up once and taken down; else skipped by name."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from real import Hosts

HERE = Path(__file__).parent


def _need(*programs: str) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("network namespaces need root on Linux")
    if "ADMMCTL_CLUSTER_DIR" not in os.environ:
        pytest.skip("tests/cluster/run.sh starts these tests")
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"missing: {', '.join(missing)} (Debian: slurm-wlm munge openssh-server iproute2)")


def _bring(script: str) -> None:
    done = subprocess.run(
        ["bash", str(HERE / script), "up"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"{script} cannot bring it up here: {' / '.join(done.stdout.splitlines()[-3:])}")


@pytest.fixture(scope="session")
def hosts() -> Iterator[Hosts]:
    """host1, host2 and host3, and the head: network namespaces with sshd."""
    _need("ip", "sshd", "ssh-keygen", "nsenter", "unshare")
    _bring("hosts.sh")
    yield Hosts(Path(os.environ["ADMMCTL_CLUSTER_DIR"]))
    subprocess.run(["bash", str(HERE / "hosts.sh"), "down"], check=True)


@pytest.fixture(scope="session")
def slurm(hosts: Hosts) -> Iterator[Hosts]:
    """The same hosts as the nodes of a Slurm."""
    _need("slurmctld", "slurmd", "sbatch", "munged")
    _bring("slurm.sh")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(hosts.folder / "slurm" / "slurm.conf"))
        yield hosts
    subprocess.run(["bash", str(HERE / "slurm.sh"), "down"], check=True)
