"""Jobs of several ranks: how they start, and that they end when they must."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from support.processes import alive, at_start, before_each, program, wait_until

import admmctl
from admmctl.cli import main
from admmctl.errors import Interrupted, RunFailed, UserError
from admmctl.launch import start
from admmctl.launch.local import available_cores
from admmctl.runs.events import Watcher
from admmctl.runs.recorded import Recorded
from admmctl.studies.bench import bench

pytestmark = pytest.mark.mpi

# 4,003 rows, 3,002 of them to train: no rank count but one divides either.
ITERATIONS = 15


def at_iteration_3(action: str) -> str:
    """Code for ``every_python``: what rank 1 does at iteration 3."""
    action = f"if self.problem.comm.rank == 1 and self.outcome.iterations == 3: {action}"
    return before_each("admmctl.runs.loop.Loop._evaluation", action)


def experiment(**changes):
    return {
        "name": "ranks",
        "data": {"name": "swissroll", "rows": 4003, "test": 0.25},
        "network": {"layers": [20, 10]},
        "loss": "squared",
        "methods": {"admm": {"ridge": 1e-3, "warm_iterations": 5, **changes.pop("admm", {})}},
        "stop": {"iterations": ITERATIONS},
        **changes,
    }


def train(ranks: int, **changes) -> Path:
    """Train on ``ranks`` ranks; the run's folder."""
    (summary,) = admmctl.train(experiment(**changes), cores=ranks, oversubscribe=True)
    assert summary["ranks"] == ranks
    assert summary["rows_train"] == 3002
    return Path(summary["folder"])


@pytest.fixture
def every_python(tmp_path, monkeypatch):
    """Puts code into every Python that a test starts."""
    return partial(at_start, tmp_path, monkeypatch)


def run_folder(results: Path) -> Path:
    (folder,) = (results / "ranks").iterdir()
    return folder


HANGS = "no progress for 2 s"
# MPICH's launcher kills the other ranks when one leaves. Which of them it then looks at first is chance.
LEAVES = "exit code 0: a rank ended before the run did|exit code 9: a rank ended: killed"


@pytest.mark.parametrize(
    ("action", "patience", "reason"),
    [
        ("raise RuntimeError('the moon is in the way')", None, "rank 1: RuntimeError: the moon is in the way"),
        ("os.kill(os.getpid(), 9)", None, "killed"),
        ("os._exit(0)", None, LEAVES),
        ("__import__('sys').exit(0)", None, "rank 1: it ended before the run did, with exit code 0"),
        ("__import__('time').sleep(600)", 2.0, rf"^rank 1 on \S+ hangs in .*, line \d+: {HANGS}$"),
        ("os.kill(os.getpid(), 19)", 2.0, f"^rank 1 does not answer: {HANGS}$"),
    ],
    ids=["raises", "is killed", "leaves", "exits", "sleeps", "is stopped"],
)
def test_a_rank_that_breaks_or_hangs_is_named_and_ends_the_job(action, patience, reason, results, every_python):
    every_python(at_iteration_3(action))
    with pytest.raises(RunFailed) as failure:
        admmctl.train(experiment(), cores=2, patience=patience)
    folder, message = run_folder(results), str(failure.value)
    summary = Recorded(folder).summary
    assert (summary.status, summary.iterations) == ("failed", 2)
    assert re.search(reason, summary.reason, re.IGNORECASE)
    for part in (summary.reason, str(folder), summary.rerun):
        assert part in message
    assert failure.value.runs[0]["folder"] == str(folder)
    assert [row["iteration"] for row in Recorded(folder).curve] == [0, 1, 2]
    assert wait_until(lambda: not alive(folder), 5)


def test_a_launcher_of_another_mpi_is_a_usage_error(results, tmp_path, monkeypatch):
    # Like an mpiexec of a family the library does not know: N processes, each of which believes to be alone.
    launcher = tmp_path / "mpiexec"
    launcher.write_text('#!/bin/sh\nn=$2; shift 2\nfor i in $(seq "$n"); do "$@" & done\nwait\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("ADMMCTL_MPIEXEC", str(launcher))
    with pytest.raises(UserError, match="2 ranks were started but MPI sees 1") as error:
        admmctl.train(experiment(), cores=2)
    assert "ADMMCTL_MPIEXEC" in str(error.value)
    assert list(results.rglob("*")) == []


# A program that closes the launcher's socket, as ``conda run`` does.
BETWEEN = [sys.executable, "-c", "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"]


@pytest.fixture
def drivers(results, tmp_path):
    """Has mpiexec start so many admmctl, in a folder with ranks.yaml."""
    sweep = {"space": {"admm": {"ridge": [1e-3, 1e-2]}}}
    (tmp_path / "ranks.yaml").write_text(yaml.safe_dump(experiment(stop={"iterations": 1}, sweep=sweep)))

    def start(count, *arguments, between=()):
        here = Path(sys.executable).parent
        command = [here / "mpiexec", "-n", str(count), *between, here / "admmctl", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    return start


@pytest.mark.parametrize(
    ("command", "between"),
    [
        *((command, ()) for command in ("train ranks.yaml", "bench", "sweep ranks.yaml", "doctor")),
        ("train ranks.yaml", BETWEEN),
    ],
)
def test_several_drivers_that_a_launcher_started_end_with_one_line(command, between, drivers, results):
    done = drivers(2, *command.split(), between=between)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "--cores 2" in done.stderr
    assert not list(results.rglob("*"))


def test_one_driver_of_a_launcher_starts_ranks_of_its_own_without_modules_of_the_folder(
    drivers, results, tmp_path
):
    (tmp_path / "random.py").write_text("raise SystemExit('the wrong module')\n")
    (tmp_path / "admmctl").mkdir()
    (tmp_path / "admmctl" / "__init__.py").write_text("raise SystemExit('another checkout')\n")
    done = drivers(1, "train", "ranks.yaml", "--cores", "2")
    assert done.returncode == 0, done.stderr
    (summary,) = results.rglob("summary.json")
    assert Recorded(summary.parent).summary.ranks == 2


def test_ranks_of_another_checkout_are_refused(results, tmp_path, monkeypatch):
    copy = tmp_path / "elsewhere" / "admmctl"
    shutil.copytree(Path(admmctl.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "rng.py").write_text((copy / "rng.py").read_text() + "\n# changed\n")
    monkeypatch.setenv("PYTHONPATH", str(copy.parent))
    with pytest.raises(UserError, match=r"a rank runs admmctl .* from .*elsewhere"):
        admmctl.train(experiment(), cores=2)
    assert not list(results.rglob("config.yaml"))


@pytest.fixture
def command(results, tmp_path):
    """Starts a run of two ranks that only a signal ends, and waits for its first rows; ended with the test."""
    processes = []

    def start() -> tuple["subprocess.Popen[str]", Path]:
        config = tmp_path / "ranks.yaml"
        config.write_text(yaml.safe_dump(experiment(stop={"iterations": 1_000_000})))
        arguments = [str(Path(sys.executable).parent / "admmctl"), "train", str(config), "--cores", "2"]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        assert wait_until(
            lambda: any(len(Recorded(path.parent).curve) > 2 for path in results.rglob("curve.csv")), 30
        )
        folder = run_folder(results)
        assert len(alive(folder)) >= 2
        return process, folder

    yield start
    for process in processes:
        process.kill()
        process.communicate()
    for path in results.glob("ranks/*"):
        for number in alive(path):
            os.kill(number, signal.SIGKILL)


def check_interrupted(folder: Path) -> None:
    """The record of a job that was asked to stop, and no ranks."""
    summary = Recorded(folder).summary
    assert summary.status == "interrupted"
    curve = Recorded(folder).curve
    assert summary.iterations == curve[-1]["iteration"] >= 2
    assert summary.final_test_accuracy == pytest.approx(curve[-1]["test_accuracy"], rel=1e-8)
    arrays = np.load(folder / "weights.npz")
    assert all(np.isfinite(arrays[f"final_W{l}"]).all() for l in (1, 2, 3))
    assert (folder / "phases.csv").is_file()
    assert wait_until(lambda: not alive(folder), 5)


def test_an_interrupted_job_leaves_a_readable_folder_and_no_ranks(command):
    process, folder = command()
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=10)
    assert process.returncode == Interrupted.exit_code == 3
    assert output == ""
    assert "interrupted after" in errors
    check_interrupted(folder)


def test_a_second_interruption_does_not_wait_for_a_rank_that_hangs(command, every_python):
    every_python(at_iteration_3("__import__('time').sleep(600)"))
    process, folder = command()
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 3
    summary = Recorded(folder).summary
    assert (summary.status, summary.iterations) == ("interrupted", 2)
    assert wait_until(lambda: not alive(folder), 5)


def test_a_signal_that_comes_as_the_record_is_written_does_not_break_it(results):
    class Nervous(Watcher):
        def event(self, event):
            if event["event"] == "evaluation":
                os.kill(os.getpid(), signal.SIGINT)

        def ended(self, summary):
            os.kill(os.getpid(), signal.SIGTERM)

    reached = []
    before = signal.signal(signal.SIGTERM, lambda *_: reached.append("the default"))
    try:
        with pytest.raises(Interrupted):
            admmctl.train(experiment(stop={"iterations": 1_000_000}), cores=2, watcher=Nervous())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert reached == []
    folder = run_folder(results)
    assert Recorded(folder).summary.status == "interrupted"
    assert wait_until(lambda: not alive(folder), 5)


# Seconds after which ranks that were asked to stop say where they are, and the driver who does not.
IMPATIENT = """
from admmctl.launch import job, rank

rank.ANSWER = job.GRACE = 0.4
"""


def test_a_stopped_rank_is_named_after_the_first_interruption(command, every_python):
    every_python(IMPATIENT + at_iteration_3("os.kill(os.getpid(), 19)"))
    process, folder = command()
    process.send_signal(signal.SIGINT)
    said = []
    while "does not answer" not in "".join(said[-1:]):
        said.append(process.stderr.readline())
        assert said[-1], "it ended"
    assert "stopping at the end of the iteration; Ctrl-C again ends it now\n" in said
    assert "rank 1 does not answer; Ctrl-C again ends the job now\n" in said[-1]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=15)
    assert process.returncode == 3
    assert Recorded(folder).summary.status == "interrupted"
    assert wait_until(lambda: not alive(folder), 5)


def shared() -> set[Path]:
    """The memory that MPICH's ranks share, by its names."""
    return set(Path("/dev/shm").glob("mpich_shm_*"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_rank_that_is_stopped_before_it_finds_the_others_ends_the_start(results, tmp_path, every_python):
    stops = 'import os\nif os.environ.get("PMI_RANK") == "1":\n    os.kill(os.getpid(), 19)\n'
    every_python(stops)
    (tmp_path / "site.yaml").write_text("{name: site, launch: {start_seconds: 4}}")
    before = shared()
    with pytest.raises(RunFailed, match=r"after 4 s without progress: 1 of 2 ranks has started \(not rank 1\)"):
        admmctl.train(experiment(), cores=2, cluster=tmp_path / "site.yaml")
    folder = run_folder(results)
    assert Recorded(folder).summary.status == "failed"
    assert alive(folder) == []
    assert wait_until(lambda: shared() <= before, 5), "the rank that waited had made it"


def test_hosts_that_do_not_answer_end_the_start_and_leave_no_ssh(results, tmp_path, monkeypatch):
    program(tmp_path / "ssh", f"import time\n{str(tmp_path / 'ssh')!r}\ntime.sleep(600)")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "site.yaml").write_text("{name: site, launch: {start_seconds: 1}}")
    with pytest.raises(RunFailed, match="after 1 s without progress: none of 2 ranks has started"):
        admmctl.train(experiment(), hosts="a.invalid:1,b.invalid:1", cluster=tmp_path / "site.yaml")
    assert alive(tmp_path / "ssh") == []


def test_an_srun_that_fails_is_quoted_and_its_mpiexec_not_waited_for(results, tmp_path, monkeypatch):
    program(tmp_path / "srun", "import sys\nsys.exit('srun: error: Unable to create step for job 7: Too late')")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    job = {"JOB_ID": "7", "NTASKS": "2", "NNODES": "2", "TASKS_PER_NODE": "1(x2)"}
    for name, value in {**job, "JOB_NODELIST": "n[1-2]", "NODELIST": "n[1-2]"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setattr(start, "CHILDLESS", 0.3)
    with pytest.raises(RunFailed, match="launcher says: srun: error: Unable to create step for job 7: Too late"):
        admmctl.train(experiment(), cores=2)
    assert wait_until(lambda: not alive(run_folder(results)), 5)


@pytest.mark.parametrize(
    ("ends", "ranks"),
    [("by itself", 1), ("by itself", 2), ("interrupted", 1), ("interrupted", 2), ("refused", 2)],
)
def test_a_driver_leaves_nothing_open(ranks, ends, results, tmp_path):
    stop = {"iterations": 1_000_000 if ends == "interrupted" else 2}
    methods = {"admm": {"ridge": 1e-3, "warm_iterations": -1 if ends == "refused" else 5}}
    (tmp_path / "ranks.yaml").write_text(yaml.safe_dump(experiment(stop=stop, methods=methods)))
    python = [sys.executable, "-X", "dev", "-W", "error", "-m", "admmctl"]
    arguments = ["train", str(tmp_path / "ranks.yaml"), "--cores", str(ranks), "--oversubscribe"]
    process = subprocess.Popen([*python, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if ends == "interrupted":
        assert wait_until(
            lambda: any(len(Recorded(path.parent).curve) > 2 for path in results.rglob("curve.csv")), 30
        )
        process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == {"by itself": 0, "interrupted": 3, "refused": 2}[ends], errors
    assert "Warning" not in errors
    assert "Traceback" not in errors
    if ends == "interrupted":
        assert output == ""
        assert "interrupted after" in errors
        check_interrupted(run_folder(results))


def test_a_watchdog_leaves_a_job_alone_that_makes_progress(results):
    (run,) = admmctl.train(experiment(stop={"iterations": 300}), cores=2, patience=1.0)
    assert run["status"] == "exhausted"


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_a_watchdog_of_no_seconds_is_a_usage_error(seconds, results):
    with pytest.raises(UserError, match="--watchdog"):
        admmctl.train(experiment(), cores=2, patience=seconds)


def parent_of(number):
    return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ranks_end_when_their_launcher_is_killed(command):
    process, folder = command()
    ranks = [n for n in alive(folder) if "hydra" in Path(f"/proc/{parent_of(n)}/comm").read_text()]
    (proxy,) = {parent_of(number) for number in ranks if "mpiexec" not in Path(f"/proc/{number}/comm").read_text()}
    os.kill(proxy, signal.SIGKILL)
    process.communicate(timeout=15)
    assert process.returncode == 1
    assert wait_until(lambda: not alive(folder), 5)
    assert Recorded(folder).summary.status == "failed"


# -- ranks that share cores, and machines that are too small


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc and /dev/shm")
def test_ranks_end_when_their_driver_is_killed_and_leave_no_shared_memory_behind(command):
    process, folder = command()
    maps = "".join((Path("/proc") / str(number) / "maps").read_text() for number in alive(folder))
    shared = {line.split()[5] for line in maps.splitlines() if "/dev/shm/mpich_shm_" in line}
    process.kill()
    assert wait_until(lambda: not alive(folder), 10)
    assert Recorded(folder).curve[0]["iteration"] == 0
    assert shared  # or MPICH calls it something else by now
    assert [path for path in shared if Path(path).exists()] == []


@pytest.fixture
def two_cores():
    """At most two cores for this thread and what it starts."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("cores cannot be taken away here")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:2])
    yield len(os.sched_getaffinity(0))
    os.sched_setaffinity(0, before)


def test_ranks_that_share_cores_leave_their_processor_time(results, two_cores, capsys, monkeypatch):
    folder = train(3, stop={"iterations": 4})
    phases, shared = Recorded(folder).phases, Recorded(folder).cpu
    assert set(shared) == set(phases) - {"rest", "wall"} >= {"load", "evaluate", "gram", "solve"}
    for name, row in shared.items():
        assert row["max_s"] >= row["mean_s"] >= row["min_s"] >= 0
        assert row["max_s"] <= phases[name]["max_s"] + 0.1  # one thread each: never more than has passed
    running = sum(row["mean_s"] for row in shared.values())
    assert 0 < 3 * running <= 1.1 * two_cores * phases["wall"]["max_s"]

    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as end:
        main(["runs", "show", str(folder)])
    shown = capsys.readouterr().out
    assert end.value.code in (None, 0)
    assert "and of processor time: ranks shared cores" in shown
    (heading,) = (line.split() for line in shown.splitlines() if line.startswith("phase"))
    assert heading == ["phase", *["max", "mean", "min", "cpu", "max", "cpu", "mean", "cpu", "min"]]
    cells = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    for name in ("load", "solve"):
        expected = [*phases[name].values(), *shared[name].values()]
        assert [float(cell) for cell in cells[name]] == pytest.approx(expected, rel=0.01, abs=1e-4)
    assert len(cells["wall"]) == 3


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_on_cores_of_their_own_leave_it_too(ranks, results, capsys):
    if ranks > available_cores():
        pytest.skip("this machine has one core")
    folder = train(ranks, stop={"iterations": 1})
    assert Recorded(folder).phases
    assert set(Recorded(folder).cpu) == set(Recorded(folder).phases) - {"rest", "wall"}
    assert not Recorded(folder).shared_cores
    with pytest.raises(SystemExit):
        main(["runs", "show", str(folder)])
    shown = capsys.readouterr().out
    assert "Seconds by phase, over ranks, and of processor time" in shown
    assert "shared cores" not in shown.replace("shared cores  ", "")  # that of the summary


# What every Python of a job finds free on its machine: with two ranks, enough for one of them.
SMALL = """
import os

if "PMI_RANK" in os.environ:
    from admmctl.runs import memory

    memory.available = lambda: 300_000_000
"""


def test_a_job_that_does_not_fit_is_refused_before_it_trains(results, every_python):
    every_python(SMALL)
    large = {"name": "swissroll", "rows": 4_000_000}
    # Free is what ranks hold already, too.
    with pytest.raises(UserError, match=r"per rank, \d\.\d\d GB for the 2 on .*, where 0\.[3-5]\d GB are free"):
        admmctl.train(experiment(data=large), cores=2)
    assert list(results.rglob("*")) == []
    with pytest.raises(UserError, match=r"where 0\.[3-5]\d GB are free"):
        bench(None, rows=4_000_000, cores=2, repeat=1)


def test_ranks_scale_ones_own_numbers_alike_and_say_a_heading_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    z = np.random.default_rng(0).standard_normal((301, 2))
    x = z * [1e-7, 10] + [0, 1.7e9]
    lines = [f"{a!r},{b!r},{int(label)}" for (a, b), label in zip(x.tolist(), z.sum(axis=1) > 0, strict=True)]
    Path("own.csv").write_text("\n".join(["width,time,class", *lines]))
    Path("own.yaml").write_text(
        "name: own\ndata: {name: files, x: own.csv, label: last}\nnetwork: {layers: [4]}\nloss: squared\n"
        "methods: {linear: {}}\n"
    )
    accuracies = []
    for cores in ("1", "2"):
        with pytest.raises(SystemExit) as end:
            main(["train", "own.yaml", "--cores", cores, "--oversubscribe", "--json"])
        assert end.value.code == 0
        printed = capfd.readouterr()
        (run,) = json.loads(printed.out)["runs"]
        accuracies.append(run["final_test_accuracy"])
        said = "own.csv: line 1 is taken as a heading: width, time, class"
        assert printed.err.count(said) == 1
        assert (Path(run["folder"]) / "log.txt").read_text().count(said) == 1
    assert accuracies[0] == accuracies[1] > 0.95
