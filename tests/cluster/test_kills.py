"""Ranks that are killed at a random time, by SIGKILL: noticed, nothing left, and resumed to the same curve."""

import os
import shutil
import signal
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from real import (
    ALL,
    admmctl_command,
    curve,
    experiment,
    family,
    left_of,
    ok,
    only_run,
    ranks,
    start,
    wait_for,
    write,
)
from support.processes import lives

from admmctl.runs.recorded import Recorded

pytestmark = pytest.mark.cluster

RANKS, ITERATIONS = 3, 240
NOTICED = 10.0  # seconds, at most
SEEDS = range(20 if ALL else 3)


def command(config: Path, *more: str) -> list[str]:
    return admmctl_command("train", str(config), "--cores", str(RANKS), "--oversubscribe", *more)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], float]:
    """The curve of a run that nobody kills, and how long its ranks live."""
    place = tmp_path_factory.mktemp("unbroken")
    config = write(place / "killed.yaml", experiment("killed", ITERATIONS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMMCTL_RESULTS", str(place))
        patch.setenv("ADMMCTL_DATASETS", str(place / "datasets"))
        ok(command(config))
        folder = only_run(place, "killed")
        return curve(folder), float(Recorded(folder).summary.wall_s)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_rank_is_noticed_and_the_run_goes_on_to_the_same_curve(
    seed: int, results: Path, tmp_path: Path, unbroken: tuple[list[dict[str, Any]], float]
) -> None:
    expected, lasts = unbroken
    random = Random(seed)
    config = write(tmp_path / "killed.yaml", experiment("killed", ITERATIONS))
    wanted = random.randint(1, 3)
    said: list[str] = []
    while True:
        job = start(command(config, "--resume"))
        try:
            if len(said) < wanted:
                killed = _kill(job, results, random.randrange(RANKS), random.uniform(0.1, 0.9) * lasts)
                if killed is None:  # too late: once more from the start
                    shutil.rmtree(results)
                    said.clear()
                    continue
                said.append(killed)
            else:
                out, _ = job.communicate(timeout=120)
                assert job.returncode == 0, out
                break
        finally:
            if job.poll() is None:
                job.kill()
    folder = only_run(results, "killed")
    assert Recorded(folder).summary.iterations == ITERATIONS
    assert curve(folder) == expected
    assert not ranks(folder)
    assert said
    print(f"\nkills: seed {seed}: " + "; ".join(said))


def _kill(job: Any, results: Path, rank: int, after: float) -> str | None:
    """Kill a rank of the job so many seconds after its start, and see it end; what happened, for people.

    None when it came to its end before that.
    """

    def started() -> dict[int, int]:
        place = results / "killed"
        return ranks(next(place.iterdir())) if place.is_dir() and any(place.iterdir()) else {}

    victims = wait_for(lambda: len(found := started()) == RANKS and found, 60)
    assert victims, "the ranks did not start"
    folder = only_run(results, "killed")
    time.sleep(after)
    everyone = family(job.pid)
    if not lives(victims[rank]):
        out, _ = job.communicate(timeout=60)
        assert job.returncode == 0, out
        return None
    moment = time.monotonic()
    os.kill(victims[rank], signal.SIGKILL)
    out, _ = job.communicate(timeout=60)
    noticed = time.monotonic() - moment
    if job.returncode == 0:  # all was written
        return None
    assert job.returncode == 1, out
    assert "Run it again with" in out
    assert noticed <= NOTICED
    assert left_of(everyone, folder) == []
    summary = Recorded(folder).summary
    assert summary.status == "failed"
    return f"rank {rank} at {after:.2f} s, iteration {summary.iterations}, noticed after {noticed:.2f} s"
