"""Runs on three hosts, each with a network of its own, by mpiexec over ssh."""

import time
from pathlib import Path

import pytest
from real import (
    ALL,
    Hosts,
    curve,
    experiment,
    family,
    left_of,
    newest_iteration,
    ok,
    only_run,
    run,
    start,
    wait_for,
    write,
)

from admmctl.runs.recorded import Recorded

pytestmark = pytest.mark.cluster

HOSTS = "host1:1,host2:1,host3:1"
ITERATIONS = 120
DOWN = 8.0  # seconds that a cable is out
NOTICED = 15.0  # seconds after which a run that does not survive that has ended


def config(place: Path, iterations: int = ITERATIONS) -> Path:
    return write(place / "hosts.yaml", experiment("hosts", iterations))


def command(hosts: Hosts, path: Path, *more: str) -> list[str]:
    return hosts.admmctl("host1", "train", str(path), "--hosts", HOSTS, *more)


def test_three_hosts_train_over_ssh(hosts: Hosts, results: Path, tmp_path: Path) -> None:
    before = [hosts.received(number) for number in (1, 2, 3)]
    ok(command(hosts, config(tmp_path)))
    crossed = [hosts.received(number) - old for number, old in zip((1, 2, 3), before, strict=True)]
    folder = only_run(results, "hosts")
    assert Recorded(folder).summary.ranks == 3
    assert Recorded(folder).summary.iterations == ITERATIONS
    # An iteration's sums are of some kilobytes: every host has received them from another one.
    assert min(crossed) > 1000 * ITERATIONS, crossed
    print(f"\nssh: {ITERATIONS} iterations on 3 hosts, bytes received by each over its wire: {crossed}")


@pytest.mark.skipif(not ALL, reason="in the whole set only: tests/cluster/run.sh")
def test_a_link_that_goes_down_for_8_s(hosts: Hosts, results: Path, tmp_path: Path, monkeypatch) -> None:
    iterations = 600
    path = config(tmp_path, iterations)
    with monkeypatch.context() as patch:
        patch.setenv("ADMMCTL_RESULTS", str(tmp_path / "unbroken"))
        ok(command(hosts, path))
    expected = curve(only_run(tmp_path / "unbroken", "hosts"))
    job = start(command(hosts, path))
    try:
        assert wait_for(
            lambda: (results / "hosts").is_dir() and newest_iteration(only_run(results, "hosts")) >= 30, 60
        )
        folder = only_run(results, "hosts")
        everyone = family(job.pid)
        hosts.link(2, "down")
        time.sleep(1)
        at = newest_iteration(folder)
        time.sleep(DOWN - 1)
        assert newest_iteration(folder) == at, "the run did not need its link"
        hosts.link(2, "up")
        moment = time.monotonic()
        moved = wait_for(lambda: newest_iteration(folder) > at or job.poll() is not None, 60)
        after = time.monotonic() - moment
        assert moved, "neither went on nor ended"
        out, _ = job.communicate(timeout=120)
    finally:
        hosts.link(2, "up")
        if job.poll() is None:
            job.kill()
    if job.returncode == 0:
        print(f"\nlink: down for {DOWN:g} s at iteration {at}: the run survived, and went on {after:.1f} s later")
    else:
        assert job.returncode == 1, out
        assert after <= NOTICED
        print(f"\nlink: down for {DOWN:g} s at iteration {at}: the run failed {after:.1f} s later, and is resumed")
        assert left_of(everyone, folder) == []
        done = run(command(hosts, path, "--resume"))
        assert done.returncode == 0, done.stdout
        assert "going on from the checkpoint" in done.stdout
    assert left_of(everyone, folder) == []
    assert curve(folder) == expected


@pytest.mark.skipif(not ALL, reason="in the whole set only: tests/cluster/run.sh")
def test_trials_of_a_sweep_at_once_are_on_hosts_of_their_own(hosts: Hosts, tmp_path: Path, results: Path) -> None:
    sweep = {"search": "grid", "space": {"admm": {"ridge": [1e-3, 1e-2, 1e-1]}}}
    config = write(tmp_path / "swept.yaml", experiment("swept", 30, sweep=sweep))
    places = "host1:2,host2:1,host3:1"
    ok(hosts.admmctl("host1", "sweep", str(config), "--jobs", "2", "--ranks", "2", "--hosts", places), 240)
    trials = [Recorded(path) for path in (results / "swept" / "sweep-admm").glob("trial-*")]
    assert [(trial.status, trial.summary.ranks) for trial in trials] == [("exhausted", 2)] * 3
    used = {tuple(sorted(set(trial.environment.hosts))) for trial in trials}
    assert used == {("host1",), ("host2", "host3")}
    print(f"\nsweep by ssh: 3 trials, two at once, on {sorted(used)}")
