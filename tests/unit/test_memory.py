"""How much memory a run will take: the arithmetic, what machines have, and what is said and refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from support.experiments import swissroll
from support.ranks import CountingComm

import admmctl
from admmctl.comm import Serial
from admmctl.data import shards
from admmctl.errors import AdmmctlError, UserError
from admmctl.experiment.config import load
from admmctl.methods.method import methods
from admmctl.model.network import targets
from admmctl.runs import auc, memory
from admmctl.runs.build import build_network
from admmctl.runs.memory import PROGRAM_BYTES, Estimate, available, check

EXPERIMENT = swissroll("memory", methods={"admm": {}, "sgd": {}}, stop={"iterations": 2})
GB = 10**9
LARGEST = 2**63 - 4096  # what version 1 of cgroups calls no limit

estimates = st.builds(
    Estimate,
    fixed=st.integers(0, 10**10),
    per_row=st.integers(1, 10**6).map(float),
    rows=st.integers(1, 10**9),
)


class Cluster(CountingComm):
    """Rank 0 of a job whose ranks run on the hosts of a list, find so many bytes free there and hold ``held``."""

    def __init__(self, machines: list[tuple[str, int | None]], held: int = 0) -> None:
        super().__init__()
        self.size, self._machines = len(machines), [(*machine, held) for machine in machines]

    def gather(self, item: Any) -> list[Any]:
        return self._machines


# -- the arithmetic


@given(expected=estimates, ranks=st.integers(1, 10**4))
def test_a_rank_needs_its_fixed_part_and_its_rows(expected, ranks):
    rows = -(-expected.rows // ranks)
    assert rows * ranks >= expected.rows > (rows - 1) * ranks
    assert expected.per_rank(ranks) == expected.fixed + int(expected.per_row) * rows


@given(expected=estimates, room=st.integers(0, 10**12))
@example(Estimate(0, 1.0, 10), 5)
@example(Estimate(0, 1.0, 10), 1)
@example(Estimate(100, 10.0, 20), 100 + 10 * 20)
@example(Estimate(100, 10.0, 1000), 100 + 10 * 20)
def test_the_ranks_that_are_named_fit_and_no_smaller_number_does(expected, room):
    ranks = expected.ranks_for(room)
    if ranks is None:
        assert expected.fixed + expected.per_row >= room
        assert expected.per_rank(expected.rows) > room
    else:
        assert ranks >= 1
        assert expected.per_rank(ranks) <= room
        assert ranks == 1 or expected.per_rank(ranks - 1) > room


@pytest.mark.parametrize("method", ["admm", "sgd"])
@pytest.mark.parametrize("validation", [0.0, 0.25])
def test_the_estimate_counts_the_rows_as_they_are_held_and_the_state(method, validation):
    overrides = [f"data.validation={validation}"] if validation else []
    run = load(EXPERIMENT, overrides).runs[method]
    plan = shards.plan(run.data, 1)
    network, trainer = build_network(run, plan), methods.load(run.kind)(run.settings)
    parts = shards.load(plan, Serial())
    held = [part for part in (parts.train, parts.test, parts.validation) if part is not None]
    assert len(held) == 2 + (validation > 0)
    data = sum(part.a0.nbytes + part.labels.nbytes for part in held)
    data += sum(targets(part.labels, network.sizes[-1]).nbytes for part in (parts.train, parts.test))
    data += 3 * sum(4 * rows * inputs for rows, inputs in network.shapes)  # weights evaluated, last and best
    data += auc.BYTES * plan.rows_test
    split = (plan.split.train, plan.split.test, plan.split.validation)
    data += sum(rows.nbytes for rows in split if isinstance(rows, np.ndarray))
    state = trainer.cost(network, parts.train.total, parts.train.total).state_bytes
    found = memory.estimate(plan, network, trainer)
    assert found.rows == parts.train.total
    assert found.per_rank(1) == pytest.approx(PROGRAM_BYTES + data + state, abs=2)


# -- what a machine has


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """Writes what Linux says of memory to files of the test's own; without a call there are none."""
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "cgroup")
    pages = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(memory, "os", SimpleNamespace(sysconf=pages.__getitem__, uname=os.uname))

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


MEMINFO = "MemTotal:       8000000 kB\nMemFree:          500000 kB\nMemAvailable:    2000000 kB\nBuffers: 7 kB\n"


def test_what_linux_calls_available_is_free(linux):
    linux("meminfo", MEMINFO)
    assert available() == 2_000_000 * 1024


@pytest.mark.parametrize(
    "text",
    [None, "", "MemTotal: 8 kB\n", "MemAvailable: lots kB\n", "rubbish", "MemTotal: 8 kB\nMemAvailable:"],
    ids=["no file", "empty", "an old kernel", "no number", "rubbish", "cut off"],
)
def test_without_that_all_memory_counts(linux, text):
    if text is not None:
        linux("meminfo", text)
    assert available() == 1000 * 4096


@pytest.mark.parametrize("error", [ValueError, OSError, AttributeError])
def test_where_nobody_knows_memory_is_unknown(linux, monkeypatch, error):
    def sysconf(name: str) -> int:
        raise error(name)

    monkeypatch.setattr(memory.os, "sysconf", sysconf)
    assert available() is None


V2 = ["cgroup/memory.max", "cgroup/memory.current", "cgroup/memory.stat"]
V1 = [f"cgroup/memory/memory.{name}" for name in ("limit_in_bytes", "usage_in_bytes", "stat")]
STAT = "anon 7\ninactive_file 3000\nactive_file 5\ntotal_inactive_file 900000\n"


LIMIT, USED = "900000\n", "500000\n"
CONTAINERS: dict[str, tuple[tuple[str | None, ...], int | None]] = {
    "a limit": ((LIMIT, USED, STAT), 403_000),
    "no statistics": ((LIMIT, USED, None), 400_000),
    "no number in the statistics": ((LIMIT, USED, "inactive_file much\n"), 400_000),
    "odd statistics": ((LIMIT, USED, "some words more than two\n"), 400_000),
    "above the limit": ((USED, LIMIT, STAT), 0),
    "no use": ((LIMIT, None, STAT), None),
    "rubbish use": ((LIMIT, "rubbish\n", STAT), None),
    "rubbish limit": (("rubbish\n", USED, STAT), None),
    "no limit": (("max\n", USED, STAT), None),
    "the largest limit": ((f"{LARGEST}\n", USED, STAT), None),
}


@pytest.mark.parametrize("case", CONTAINERS)
@pytest.mark.parametrize("names", [V1, V2], ids=["version 1", "version 2"])
def test_the_limit_of_a_container_counts_where_there_is_one(linux, names, case):
    contents, room = CONTAINERS[case]
    linux("meminfo", MEMINFO)
    for name, text in zip(names, contents, strict=True):
        if text is not None:
            linux(name, text)
    assert available() == (2_000_000 * 1024 if room is None else room)


def test_of_memory_and_limit_the_smaller_one_counts(linux):
    linux("meminfo", "MemAvailable: 100 kB\n")
    for name, text in zip(V2, ("900000", "500000", STAT), strict=True):
        linux(name, text)
    assert available() == 102_400


# -- fitting


def test_ranks_that_fit_are_told_their_bytes():
    expected = Estimate(GB, 1000.0, 8_000_000)  # 3 GB each of 4 ranks
    assert check(expected, Cluster([("one", 12 * GB)] * 4)) == 3 * GB
    assert check(expected, Cluster([("one", 6 * GB), ("two", 6 * GB)] * 2)) == 3 * GB
    for free in (12 * GB - 1, 0):
        with pytest.raises(UserError):
            check(expected, Cluster([("one", free)] * 4))


def test_the_refusal_names_ranks_machines_and_what_is_free():
    expected = Estimate(GB, 1000.0, 8_000_000)
    with pytest.raises(UserError) as refused:
        check(expected, Cluster([("vega", 8 * GB)] * 4))
    text = str(refused.value)
    assert "about 3.00 GB of memory per rank" in text
    assert "12.0 GB for the 4 on vega" in text
    assert "where 8.00 GB are free" in text
    # With 2 GB for each of four: 8 ranks of 1 GB and a million rows.
    (needed,) = (number for number in (8, 9) if f"it needs {number} ranks, 4 on each of" in text)
    assert expected.per_rank(needed) <= 2 * GB
    assert f"4 on each of {-(-needed // 4)};" in text
    assert "data.rows" in text


def test_what_every_rank_needs_may_be_too_much_already():
    with pytest.raises(UserError, match=r"\(5\.00 GB\) does not fit: start fewer per machine"):
        check(Estimate(5 * GB, 1.0, 1000), Cluster([("vega", 8 * GB)] * 2))


def test_the_host_with_too_little_is_named():
    expected = Estimate(GB, 1000.0, 6_000_000)  # 2 GB each of 6 ranks
    hosts = [("large", 64 * GB), ("small", 3 * GB), ("large", 64 * GB), ("small", 5 * GB), ("odd", None)]
    with pytest.raises(UserError, match=r"for the 2 on small, where 3\.00 GB are free"):
        check(expected, Cluster([*hosts, ("large", 64 * GB)]))
    # Of the ranks of one host the one that found the least counts, and a rank alone fits.
    fits = [("large", 64 * GB), ("small", 4 * GB), ("large", 64 * GB), ("small", 4 * GB), ("tiny", 2 * GB)]
    assert check(expected, Cluster([*fits, ("odd", None)])) == 2 * GB


def test_unknown_memory_never_refuses():
    expected = Estimate(10**18, 10**9, 10**9)
    assert check(expected, Cluster([("one", None)] * 3)) == expected.per_rank(3)


def test_ranks_that_are_not_the_first_leave_the_verdict_to_it(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1)
    comm = SimpleNamespace(rank=1, size=2, gather=lambda item: None)
    expected = Estimate(GB, 1.0, 10)
    assert check(expected, comm) == GB + 5


def test_every_rank_says_where_it_runs_and_what_is_free_there(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 12345)
    gathered = []
    comm = SimpleNamespace(rank=0, size=1, gather=lambda item: gathered.append(item))
    check(Estimate(GB, 1.0, 10), comm)
    ((name, free, held),) = gathered
    assert (name, free) == (os.uname().nodename, 12345)
    assert 0 <= held <= PROGRAM_BYTES
    if sys.platform == "linux":
        assert held > 20_000_000  # Python and NumPy


def test_what_ranks_share_and_what_they_hold_already_counts_once():
    expected = Estimate(GB - 4, 1.0, 16, shared=GB // 2)
    # Of 4 ranks: half a GB each and half a GB together, of which a quarter each, and what they share, is taken.
    assert expected.per_machine(4, 4) == 2.5 * GB
    assert check(expected, Cluster([("one", GB)] * 4, held=GB // 4)) == GB
    with pytest.raises(UserError, match=r"2\.50 GB for the 4 on one, where 2\.50 GB are free"):
        check(expected, Cluster([("one", GB - 1)] * 4, held=GB // 4))
    assert check(expected, Cluster([("one", 5 * GB // 2)] * 4)) == GB
    with pytest.raises(UserError, match=r"where 1\.00 GB are free"):
        check(expected, Cluster([("one", GB)] * 4))


# -- runs


def test_a_run_that_does_not_fit_is_refused_and_leaves_no_folder(results, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 100_000_000)
    with pytest.raises(UserError, match=r"about 0\.19 GB of memory per rank.* where 0\.10 GB are free"):
        admmctl.train(EXPERIMENT)
    assert not results.exists() or list(results.iterdir()) == []


def test_of_all_methods_those_that_fit_do_not_depend_on_the_order(results, monkeypatch):
    # SGD keeps one batch and the weights, ADMM every unit of every sample.
    config = {**EXPERIMENT, "data": {"name": "swissroll", "rows": 40_000}, "network": {"layers": [500]}}
    monkeypatch.setattr(memory, "available", lambda: PROGRAM_BYTES + 40_000_000)
    trained = []
    for order in (("admm", "sgd"), ("sgd", "admm")):
        named = {**config, "name": "-".join(order), "methods": {name: {} for name in order}}
        with pytest.raises(AdmmctlError, match="of memory per rank"):
            admmctl.train(named, method="all", overrides=["stop.iterations=1"])
        trained.append({path.name.partition("-")[0] for path in results.glob(f"{named['name']}/*")})
    assert trained[0] == trained[1]


def test_the_command_refuses_it_in_one_line(results, shell, monkeypatch):
    # The program fits, the rows do not.
    monkeypatch.setattr(memory, "available", lambda: PROGRAM_BYTES + 20_000_000)
    answer = shell("train", "tiny.yaml", "--json", "--set", "data.rows=1000000")
    assert (answer.code, answer.out) == (2, "")
    # The folder that is named before it was made in vain, and is gone again.
    *folder, line = answer.err.splitlines()
    assert line.startswith("error: this run needs about")
    assert "data.rows" in line
    assert len(folder) <= 1
    assert not any(Path(name).exists() for name in folder)
    assert not results.exists() or list(results.iterdir()) == []


@pytest.mark.usefixtures("with_numba")  # the estimate counts it
def test_a_real_run_takes_what_was_estimated_printed_and_recorded(results, tmp_path):
    config = {**EXPERIMENT, "data": {"name": "swissroll", "rows": 400_000}, "network": {"layers": [100]}}
    (tmp_path / "memory.yaml").write_text(yaml.safe_dump(config))
    # A shell between: Linux counts what a parent held, these tests for instance, as its child's peak (ru_maxrss).
    shell = ["sh", "-c", '"$@"; exit $?', "sh"]
    command = [*shell, sys.executable, "-m", "admmctl.cli", "train", str(tmp_path / "memory.yaml"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    (run,) = json.loads(done.stdout)["runs"]
    expected = json.loads((Path(run["folder"]) / "environment.json").read_text())["memory_estimate_mb"]
    assert run["peak_rss_mb"] == pytest.approx(expected, rel=0.25)
    # The rows are a good part of it, or the program alone would pass.
    assert expected > 1.5 * PROGRAM_BYTES / 2**20
    lines = done.stderr.splitlines()
    (number,) = (i for i, line in enumerate(lines) if line == f"about {expected} MB of memory")
    assert number < min(i for i, line in enumerate(lines) if line.startswith("iteration"))
