"""Jobs of a real Slurm on three nodes: to the end, cancelled, out of time, started again."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from real import ALL, Hosts, curve, experiment, newest_iteration, ok, only_run, ranks, run, start, wait_for, write

from admmctl.runs.recorded import Recorded

pytestmark = pytest.mark.cluster

ITERATIONS = 450
whole = pytest.mark.skipif(not ALL, reason="in the whole set only: tests/cluster/run.sh")


def site(place: Path, **launch: Any) -> Path:
    # Three ranks share two cores: those that wait give theirs away.
    known = {"time": "10:00", "ranks_per_node": 1, "environment": {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1"}}
    return write(place / "site.yaml", {"name": "site", "launch": {**known, **launch}})


class Jobs:
    """What a user does on the head of the cluster."""

    def __init__(self, slurm: Hosts, place: Path, results: Path) -> None:
        self.slurm, self.place, self.results = slurm, place, results

    def submit(self, *more: str, iterations: int = ITERATIONS, **launch: Any) -> str:
        """Hand in a job on three nodes; its number."""
        config = write(self.place / "jobs.yaml", experiment("jobs", iterations))
        options = ["--cores", "3", "--launcher", "sbatch", "--cluster", str(site(self.place, **launch))]
        ok(self.slurm.admmctl("head", "train", str(config), *options, *more))
        return str(json.loads((self.folder() / "job.json").read_text())["job"])

    def folder(self) -> Path:
        """Of the newest job."""
        return max((self.results / "jobs").glob("job-*"), key=lambda path: path.stat().st_mtime)

    def wait(self) -> "tuple[int, str]":
        done = run(self.slurm.admmctl("head", "wait", str(self.folder())), 300)
        return done.returncode, done.stdout

    def run_at(self, iteration: int) -> Path:
        """The folder of the run, which has come so far."""

        def there() -> bool:
            made = [path for path in (self.results / "jobs").iterdir() if not path.name.startswith("job-")]
            return bool(made) and newest_iteration(made[0]) >= iteration

        assert wait_for(there, 90), (self.folder() / "log.txt").read_text()
        return only_run(self.results, "jobs")


@pytest.fixture
def jobs(slurm: Hosts, tmp_path: Path, results: Path) -> Jobs:
    return Jobs(slurm, tmp_path, results)


def test_a_job_on_three_nodes_and_its_end(slurm: Hosts, jobs: Jobs, results: Path) -> None:
    before = [slurm.received(number) for number in (1, 2, 3)]
    number = jobs.submit(iterations=60)
    code, said = jobs.wait()
    assert code == 0, said
    crossed = [slurm.received(number) - old for number, old in zip((1, 2, 3), before, strict=True)]
    folder = only_run(results, "jobs")
    assert Recorded(folder).summary.iterations == 60
    assert min(crossed) > 1000 * 60, crossed
    print(f"\nslurm: job {number}, 3 tasks on 3 nodes, 60 iterations, bytes received by each node: {crossed}")


@whole
def test_a_job_that_is_cancelled_leaves_nothing_but_its_checkpoints(jobs: Jobs) -> None:
    jobs.submit(iterations=100_000)
    folder = jobs.run_at(30)
    ok(jobs.slurm.admmctl("head", "cancel", str(jobs.folder())))
    code, said = jobs.wait()
    assert code == 3, said
    assert wait_for(lambda: not ranks(folder), 20)
    assert list((folder / "checkpoint").glob("*/manifest.json"))
    print(f"\nscancel: at iteration {newest_iteration(folder)}, no rank left")


@whole
def test_a_job_out_of_time_stops_with_a_checkpoint_and_goes_on(jobs: Jobs) -> None:
    # Slurm's limits are minutes, and it looks for jobs to be warned twice in a minute.
    jobs.submit(iterations=100_000, time="2:00", options=["--signal=B:USR1@110"])
    folder = jobs.run_at(3)
    code, said = jobs.wait()
    assert code == 3, said
    summary = Recorded(folder).summary
    assert summary.status == "interrupted"
    assert (folder / "checkpoint" / str(summary.iterations) / "manifest.json").is_file()
    jobs.submit("--resume", iterations=100_000)
    assert jobs.run_at(summary.iterations + 30) == folder
    log = (jobs.folder() / "log.txt").read_text()
    assert f"going on from the checkpoint of iteration {summary.iterations}" in log
    ok(jobs.slurm.admmctl("head", "cancel", str(jobs.folder())))
    assert jobs.wait()[0] == 3
    print(f"\ntime limit: exit code 3 with the checkpoint of iteration {summary.iterations}, resumed")


@whole
def test_a_job_that_slurm_starts_again_goes_on_to_the_same_curve(
    jobs: Jobs, slurm: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("ADMMCTL_RESULTS", str(tmp_path / "unbroken"))
        other = Jobs(slurm, tmp_path, tmp_path / "unbroken")
        other.submit()
        assert other.wait()[0] == 0
    expected = curve(only_run(tmp_path / "unbroken", "jobs"))
    number = jobs.submit()
    folder = jobs.run_at(30)
    waiting = start(slurm.admmctl("head", "wait", str(jobs.folder())))
    ok(slurm.on("head", "scontrol", "requeue", number))
    state = slurm.on("head", "squeue", "--noheader", f"--jobs={number}", "--format=%T")
    assert wait_for(lambda: run(state).stdout.strip() == "PENDING", 30, every=0.2)
    # It would wait two minutes.
    now = slurm.on("head", "scontrol", "update", f"JobId={number}", "StartTime=now")
    ok(now)
    said, _ = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, said
    assert "going on from the checkpoint of iteration" in said
    assert only_run(jobs.results, "jobs") == folder
    assert curve(folder) == expected
    line = next(line for line in said.splitlines() if "going on from the checkpoint" in line)
    print(f"\nrequeue: {line.strip()}, the same curve")


@whole
def test_a_sweep_in_jobs_that_are_cancelled_goes_on_within_its_trials(
    slurm: Hosts, tmp_path: Path, results: Path
) -> None:
    sweep = {"search": "grid", "space": {"admm": {"ridge": [1e-3, 1e-2, 1e-1]}}}
    config = write(tmp_path / "swept.yaml", experiment("swept", 150, sweep=sweep))
    cluster = site(tmp_path, exclude=["n[2]"], methods={"admm": {"time": "12:00"}})
    options = ["--jobs", "2", "--ranks", "2", "--launcher", "sbatch", "--cluster", str(cluster)]
    command = slurm.admmctl("head", "sweep", str(config), *options)
    ok(command)
    queue = ok(slurm.on("head", "squeue", "--noheader", "--format=%r %l"))
    assert "Dependency 12:00" in [line.strip() for line in queue.splitlines()]
    folder = results / "swept" / "sweep-admm"
    begun = wait_for(lambda: [run for run in folder.glob("trial-*") if newest_iteration(run) >= 30], 90)
    assert begun
    ok(slurm.admmctl("head", "cancel", "swept"))
    assert run(slurm.admmctl("head", "wait", "swept"), 60).returncode == 3
    numbers = re.findall(r"^job (\d+):", ok(command), flags=re.MULTILINE)
    done = run(slurm.admmctl("head", "wait", *numbers), 300)
    assert done.returncode == 0, done.stdout
    assert (folder / "best.yaml").is_file()
    assert "going on from the checkpoint of iteration" in (begun[0] / "log.txt").read_text()
    trials = [Recorded(path) for path in folder.glob("trial-*")]
    assert [trial.status for trial in trials] == ["exhausted"] * 3
    assert [set(trial.environment.hosts) for trial in trials] == [{"host1", "host3"}] * 3
    print("\nsweep: 3 trials in 2 jobs of 2 ranks, cancelled and gone on with; the excluded node had none")


@whole
def test_a_job_that_a_sleeping_controller_was_given_is_handed_in_once(jobs: Jobs, slurm: Hosts) -> None:
    # It answers nobody, and reads what it was sent when it wakes up: sbatch has timed out by then.
    controller = int((slurm.folder / "slurm" / "slurmctld.pid").read_text())
    config = write(jobs.place / "jobs.yaml", experiment("jobs", 30))
    options = ["--cores", "3", "--launcher", "sbatch", "--cluster", str(site(jobs.place))]
    os.kill(controller, signal.SIGSTOP)
    try:
        with start(slurm.admmctl("head", "train", str(config), *options)) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            os.kill(controller, signal.SIGCONT)
            said += process.stdout.read()
    finally:
        os.kill(controller, signal.SIGCONT)
    assert process.returncode == 0, said
    assert "; asked again in 5 s, for 15 min at the most" in said
    number = json.loads((jobs.folder() / "job.json").read_text())["job"]
    script = f"{jobs.folder() / 'job.sh'}"
    listed = ok(slurm.on("head", "squeue", "--noheader", "--states=all", "--format=%i %o")).splitlines()
    assert [line.split()[0] for line in listed if line.split()[1] == script] == [number]
    code, printed = jobs.wait()
    assert code == 0, printed
    print(f"\nsleeping controller: {said.splitlines()[0]}")
