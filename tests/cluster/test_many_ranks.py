"""As many ranks as a small machine takes: 64 here, and the largest job of Slurm that fits into its memory."""

import json
import os
import time
from pathlib import Path

import pytest
from real import (
    ALL,
    Hosts,
    admmctl_command,
    experiment,
    family,
    left_of,
    newest_iteration,
    ok,
    only_run,
    ranks,
    run,
    start,
    wait_for,
    write,
)

from admmctl.runs.memory import available
from admmctl.runs.recorded import Recorded

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not ALL, reason="in the whole set only: tests/cluster/run.sh"),
]

LOCAL = 64
MOST = int(os.environ.get("ADMMCTL_CLUSTER_TASKS", "256"))
MIB = 2**20
EACH = 90 * MIB  # of a rank's memory; what several share is divided between them


def memory(processes: dict[int, int]) -> float:
    """The mean memory of processes in MiB; what several share counts once, divided between them."""
    total = 0
    for pid in processes.values():
        for line in (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024 / len(processes)


def test_64_ranks_on_this_machine(results: Path, tmp_path: Path) -> None:
    if (free := available() or 0) < LOCAL * EACH * 1.2:
        pytest.skip(f"{LOCAL} ranks need {LOCAL * EACH * 1.2 / MIB:,.0f} MiB, and {free / MIB:,.0f} are free")
    config = write(tmp_path / "many.yaml", experiment("many", 2, evaluate={"every": 1}))
    began = time.monotonic()
    job = start(admmctl_command("train", str(config), "--cores", str(LOCAL), "--oversubscribe"))
    try:
        assert wait_for(lambda: (results / "many").is_dir() and any((results / "many").iterdir()), 60)
        folder = only_run(results, "many")
        assert wait_for(lambda: newest_iteration(folder) >= 0 or job.poll() is not None, 300)
        started = time.monotonic() - began
        processes = ranks(folder)
        each = memory(processes) if len(processes) == LOCAL else float("nan")  # it was quick
        everyone = family(job.pid)
        out, _ = job.communicate(timeout=300)
    finally:
        if job.poll() is None:
            job.kill()
    assert job.returncode == 0, out
    assert (Recorded(folder).summary.ranks, Recorded(folder).summary.iterations) == (LOCAL, 2)
    assert left_of(everyone, folder) == []
    print(f"\n{LOCAL} local ranks: first evaluation after {started:.1f} s, {each:.0f} MiB per rank")


def test_the_largest_job_of_slurm_that_fits(slurm: Hosts, results: Path, tmp_path: Path) -> None:
    tasks = min(MOST, int(0.8 * (available() or 0) / EACH))
    if tasks < 12:
        pytest.skip("less memory is free than 12 ranks need")
    config = write(tmp_path / "many.yaml", experiment("many", 2, evaluate={"every": 1}))
    launch = {"time": "30:00", "environment": {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1"}}
    site = write(tmp_path / "site.yaml", {"name": "site", "launch": {**launch, "ranks_per_node": -(-tasks // 3)}})
    options = ["--cores", str(tasks), "--launcher", "sbatch", "--cluster", str(site)]
    began = time.monotonic()
    ok(slurm.admmctl("head", "train", str(config), *options))
    (job,) = (results / "many").glob("job-*")
    done = run(slurm.admmctl("head", "wait", str(job)), 600)
    assert done.returncode == 0, done.stdout
    folder = only_run(results, "many")
    assert (Recorded(folder).summary.ranks, Recorded(folder).summary.iterations) == (tasks, 2)
    assert wait_for(lambda: not ranks(folder), 20)
    number = json.loads((job / "job.json").read_text())["job"]
    print(
        f"\nslurm: job {number} of {tasks} tasks on 3 overcommitted nodes: first evaluation "
        f"{Recorded(folder).curve[0]['wall_s']:.0f} s after the start, {time.monotonic() - began:.0f} s in all, "
        f"{Recorded(folder).summary.peak_rss_mb:.0f} MB per rank at its peak, libraries that all share included"
    )
