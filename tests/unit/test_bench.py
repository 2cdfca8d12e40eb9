"""What bench measures: rows of any shape without data, ranks that agree, medians, and methods that end."""

import io
import json
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from support.ranks import CountingComm, on_ranks
from threadpoolctl import threadpool_info, threadpool_limits

from admmctl.data.catalog import datasets
from admmctl.data.hog import HogSettings, features
from admmctl.errors import DataError, RunFailed, UserError
from admmctl.experiment.config import Run, load
from admmctl.launch.ended import JobEnd
from admmctl.launch.job import Command
from admmctl.methods.method import Diverged, Finished
from admmctl.methods.taylor.algorithm import Admm
from admmctl.report.bench import bench_tables
from admmctl.runs import bench as module
from admmctl.runs import clock, disturbed, memory
from admmctl.runs.bench import measure
from admmctl.runs.build import shape_network
from admmctl.studies import bench as driver


def silent(what: str) -> None:
    pass


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small peaks and messages: a matrix product of a moment, a copy that stays in cache."""
    monkeypatch.setattr(module, "GEMM_SIZE", 64)
    monkeypatch.setattr(module, "_STREAM_BYTES", 1 << 16)
    monkeypatch.setattr(module, "_MESSAGES", (4, 1024))


def run(**changes: Any) -> Run:
    document = {
        "name": "bench",
        "data": {"name": "swissroll"},
        "network": {"layers": [6, 4]},
        "loss": "squared",
        "methods": {"admm": {}},
        **changes,
    }
    return next(iter(load(document).runs.values()))


# -- shapes without data


@pytest.mark.parametrize(
    ("name", "settings", "shape"),
    [
        ("swissroll", {}, (3, 2)),
        ("higgs", {}, (28, 2)),
        ("mnist", {}, (784, 10)),
        ("mnist", {"classes": [3, 5, 8]}, (784, 3)),
        ("cifar10", {}, (3072, 10)),
        ("cifar10", {"grey": 16}, (256, 10)),
        ("cifar10", {"grey": 8, "classes": [1, 9]}, (64, 2)),
        ("svhn", {}, (3072, 10)),
        ("svhn-hog", {}, (648, 10)),
        ("svhn-hog", {"hog": {"orientations": 9, "signed": False}}, (324, 10)),
        ("svhn-hog", {"hog": {"cell": 4, "block": 2, "stride": 2, "orientations": 8}}, (512, 10)),
        ("svhn-hog", {"hog": {"cell": 16, "block": 1}, "classes": [1, 2, 3]}, (72, 3)),
    ],
)
def test_the_shape_of_a_dataset_needs_no_data(
    results: Path, tmp_path: Path, name: str, settings: dict[str, Any], shape: tuple[int, int]
) -> None:
    dataset = datasets.load(name)()
    assert dataset.shape(dataset.Settings(name=name, **settings)) == shape
    assert not (tmp_path / "datasets").exists()


def test_hog_settings_that_fit_no_block_are_refused() -> None:
    dataset = datasets.load("svhn-hog")()
    settings = dataset.Settings(name="svhn-hog", hog={"cell": 16, "block": 3})
    with pytest.raises(UserError, match="does not fit into an image of 32x32"):
        dataset.shape(settings)
    assert features(HogSettings(cell=16, block=2)) == 4 * 18


def test_one_s_own_files_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = datasets.load("files")()
    settings = dataset.Settings(name="files", x="x.npy", y="y.npy")
    with pytest.raises(DataError, match=r"x\.npy"):
        dataset.shape(settings)
    np.save("x.npy", np.zeros((6, 5)))
    np.save("y.npy", np.array([4, 7, 9, 4, 7, 9]))
    source = dataset.open(settings)
    assert dataset.shape(settings) == (source.features, len(source.labels_known)) == (5, 3)
    assert dataset.shape(dataset.Settings(name="files", x="x.npy", y="y.npy", classes=[4, 9])) == (5, 2)


# -- what is measured


class Time:
    """A time that passes when told to, and a millionth of a second whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1e-6
        return self.now

    process_time = perf_counter

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(module, "time", time)
    monkeypatch.setattr(clock, "time", time)
    return time


@pytest.fixture
def before_each_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], None]], None]:
    """Puts what is called with the state before every step of ADMM."""
    step = Admm.step

    def put(action: Callable[[Any], None]) -> None:
        def stepping(self: Admm, state: Any) -> Any:
            action(state)
            return step(self, state)

        monkeypatch.setattr(Admm, "step", stepping)

    return put


@pytest.mark.usefixtures("quick")
def test_the_step_is_timed_by_the_median_and_the_warm_up_is_not(before_each_step: Any, time: Time) -> None:
    seconds = iter([50.0, 2.0, 12.0, 4.0])

    def slow(state: Any) -> None:
        with state.problem.clock.phase("solve"):
            time.sleep(next(seconds))

    before_each_step(slow)
    said: list[str] = []
    result = measure(run(), 50, 3, CountingComm(), said.append)
    assert result["seconds_of_repeats"] == pytest.approx([2.0, 12.0, 4.0], abs=0.01)
    assert result["seconds_per_iteration"] == pytest.approx(4.0, abs=0.01)
    assert result["phases"]["solve"] == pytest.approx(4.0, abs=0.01)
    assert 0 < result["set_up_s"] < 0.01
    iterations = [f"iteration {number} of 3" for number in range(4)]
    assert said == ["memory bandwidth", "Allreduce", "admm on 50 rows", *iterations]


@pytest.mark.usefixtures("quick")
def test_a_rank_computes_on_one_thread_whatever_the_environment_says(before_each_step: Any) -> None:
    threads: list[int] = []

    def counting(state: Any) -> None:
        threads.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

    before_each_step(counting)
    with threadpool_limits(limits=2, user_api="blas"):
        result = measure(run(), 50, 1, CountingComm(), silent)
    assert set(threads) == {1}
    assert result["threads_per_rank"] == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("queued", [0.0, 1.0], ids=["the disk", "a core"])
def test_iterations_that_did_not_run_all_their_time_have_waited(
    before_each_step: Any, time: Time, monkeypatch: pytest.MonkeyPatch, queued: float
) -> None:
    waits = {"1": 0.0}
    monkeypatch.setattr(disturbed, "_queued", lambda: dict(waits))

    def waiting(state: Any) -> None:
        with state.problem.clock.phase("solve"):
            time.sleep(2.0)  # in which this process has no processor time
            waits["1"] += 2.0 * queued

    before_each_step(waiting)
    result = measure(run(), 50, 3, CountingComm(), silent)
    assert result["cpu_share"] < 0.5
    assert result["disturbed"] is (True if queued else None)


@pytest.mark.usefixtures("quick")
def test_what_the_clock_calls_no_training_is_no_part_of_a_step(before_each_step: Any, time: Time) -> None:
    def evaluating(state: Any) -> None:
        with state.problem.clock.phase("evaluate"):
            time.sleep(5.0)

    before_each_step(evaluating)
    assert measure(run(), 50, 1, CountingComm(), silent)["seconds_per_iteration"] < 0.01


@pytest.mark.usefixtures("quick")
def test_three_ranks_agree_and_the_slowest_counts(monkeypatch: pytest.MonkeyPatch, before_each_step: Any) -> None:
    def uneven(state: Any) -> None:
        with state.problem.clock.phase("solve"):
            module.time.sleep(0.05 * state.problem.comm.rank)

    before_each_step(uneven)
    monkeypatch.setattr(module, "threadpool_limits", lambda **options: nullcontext())
    monkeypatch.setattr(memory, "check", lambda estimate, comm: 0)
    answers = on_ranks(3, lambda comm: (measure(run(), 100, 1, comm, silent), comm.lengths))
    results = [result for result, _ in answers]
    for key in ("gemm_gflops", "step_gflops", "seconds_per_iteration", "memory_bandwidth_gbs", "allreduce"):
        assert results[0][key] == results[1][key] == results[2][key]
    first = results[0]
    assert first["ranks"] == 3
    assert first["seconds_per_iteration"] >= 0.1
    rate = first["flop_per_iteration"] / first["seconds_per_iteration"] / 3 / 1e9
    assert first["step_gflops"] == pytest.approx(rate)
    sizes = [exchange["bytes"] for exchange in first["allreduce"]]
    assert sizes == sorted({4, 1024, *first["message_bytes"]})
    for _, lengths in answers:  # in numbers of four bytes
        assert {size // 4 for size in sizes} <= set(lengths)
        assert max(lengths) == 256


@pytest.mark.parametrize(("outputs", "rows"), [(1, 7), (4, 7), (1, 150_000)])
def test_synthetic_rows_are_shared_out_with_ones_and_every_class(outputs: int, rows: int) -> None:
    name = "mnist" if outputs > 1 else "higgs"
    asked = run(data={"name": name, **({"classes": [0, 1, 2, 3]} if outputs > 1 else {})})
    network = shape_network(asked, 6, max(outputs, 2))
    problems = []
    for rank in range(2):
        comm = CountingComm()
        comm.rank, comm.size = rank, 2
        problems.append(module._problem(asked, network, rows, comm))
    first, second = problems
    assert (first.start, second.start) == (0, -(-rows // 2))
    assert first.a0.shape == (7, -(-rows // 2))
    assert second.a0.shape == (7, rows // 2)
    for p in problems:
        assert p.total == rows
        assert p.a0.dtype == p.y.dtype == np.float32
        assert p.a0.flags.f_contiguous
        assert (p.a0[-1] == 1).all()
        assert p.y.shape == (outputs, p.a0.shape[1])
        if outputs > 1:
            assert (p.y.sum(axis=0) == 1).all()
    assert not np.isin(first.a0[0, :3], second.a0[0]).any()
    if rows > 100:
        x = np.hstack([p.a0 for p in problems])[:-1]
        assert abs(x.mean()) < 0.02
        assert abs(x.std() - 1) < 0.02
        assert 0.4 < first.y.mean() < 0.6


# -- what is refused


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", [Finished, Diverged])
def test_a_method_that_ends_is_said_and_let_go(monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    closed = []

    def end(self: Admm, state: Any) -> Any:
        raise kind("nothing is left to do")

    monkeypatch.setattr(Admm, "step", end)
    monkeypatch.setattr(Admm, "close", lambda self, state: closed.append(state))
    with pytest.raises(UserError, match="ends after 0 iterations on synthetic rows: nothing is left to do"):
        measure(run(), 50, 2, CountingComm(), silent)
    assert len(closed) == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("kind", "most"), [(Finished, None), (Finished, 3), (Finished, 1), (Diverged, 3)])
def test_short_steps_are_timed_many_in_a_row(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception], most: int | None
) -> None:
    """And of a method that ends after a few as many as it makes."""
    step, made = Admm.step, [0]

    def few(self: Admm, state: Any) -> Any:
        if most is not None and state.iteration >= most:
            raise kind("nothing is left to do")
        made[0] += 1
        return step(self, state)

    monkeypatch.setattr(Admm, "step", few)
    monkeypatch.setattr(module, "_SHORT", 1e9)
    monkeypatch.setattr(module, "_MOST_STEPS", 10)
    found = measure(run(), 50, 4, CountingComm(), silent)
    assert made[0] >= 1 + 4 * min(most or 10, 10)
    assert len(found["seconds_of_repeats"]) == 4


@pytest.mark.usefixtures("quick")
def test_numbers_that_overflow_are_said_once_and_not_warned_of() -> None:
    document = run(network={"layers": [6]}, methods={"gd": {"learning_rate": 1e30}}).document()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(UserError, match="on synthetic rows: the weights are not finite"):
            driver.bench(document, rows=50, repeat=5)  # type: ignore[arg-type]


def test_memory_is_checked_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 10_000_000)
    said: list[str] = []
    with pytest.raises(UserError, match="of memory per rank"):
        measure(run(), 10**9, 1, CountingComm(), said.append)
    assert said == []


@pytest.mark.usefixtures("quick")
def test_the_memory_that_is_expected_is_that_of_the_rows_and_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: None)
    asked, rows = run(network={"layers": [100]}), 5_000
    result = measure(asked, rows, 1, CountingComm(), silent)
    state = Admm(asked.settings).cost(shape_network(asked, 3, 2), rows, rows).state_bytes
    held = memory.PROGRAM_BYTES + state + rows * (4 * 4 + 4 + 8)  # inputs with ones, targets, labels
    assert result["memory_estimate_mb"] == pytest.approx(held / 2**20, rel=1e-6)


# -- the driver of several ranks


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Puts a job in the place of the ranks: its events, how it ended. Returns what it was started with."""

    def put(events: list[dict[str, Any]], **end: Any) -> list[Any]:
        commands: list[Any] = []

        def watch(command: Command, on_event: Callable[..., None]) -> JobEnd:
            commands.append((command.line, command.environment, load(Path(command.line[-4]))))
            for event in events:
                on_event(event)
            return JobEnd(**{"exit_code": 0, **end})

        monkeypatch.setattr(driver, "watch", watch)
        return commands

    return put


def test_ranks_get_the_experiment_one_thread_each_and_tell_what_they_do(job: Any) -> None:
    commands = job([{"event": "at", "what": "Allreduce"}, {"event": "result", "result": RESULT}])
    said: list[str] = []
    found = driver.bench(None, rows=10, cores=2, repeat=3, say=said.append, oversubscribe=True)
    assert found.model_dump() == RESULT
    assert said == ["Allreduce"]
    ((command, environment, experiment),) = commands
    assert command[-3:] == ["10", "3", "2"]
    assert environment["OPENBLAS_NUM_THREADS"] == "1"
    assert experiment.runs["admm"].network.layers == [300]
    assert not Path(command[-4]).exists()


def test_what_a_rank_refuses_or_breaks_on_is_raised(job: Any) -> None:
    def bench() -> None:
        driver.bench(None, rows=10, cores=2, oversubscribe=True)

    job([], exit_code=2, errors=[{"event": "error", "rank": 0, "user": True, "message": "too small"}])
    with pytest.raises(UserError, match="too small"):
        bench()
    job([], exit_code=9, printed=["one", "killed by signal 9"])
    with pytest.raises(RunFailed, match=r"exit code 9(.|\n)*killed by signal 9"):
        bench()
    job([], exit_code=0)
    with pytest.raises(RunFailed, match="exit code 0"):
        bench()


def test_a_rank_tells_its_result_or_its_refusal_as_json_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "name: b\ndata: {name: swissroll}\nnetwork: {layers: [3]}\nloss: squared\nmethods: {admm: }\n"
    )

    def measured(asked: Run, rows: int, repeat: int, comm: Any, say: Callable[[str], None]) -> dict[str, Any]:
        say("nothing much")
        if rows == 1:
            raise UserError("too few")
        return {"rows": rows, "repeat": repeat, "ranks": comm.size}

    monkeypatch.setattr(module, "measure", measured)
    module.main(str(config), "20", "3", "1")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines.pop(0)["event"] == "connected"
    assert lines == [
        {"event": "at", "what": "nothing much"},
        {"event": "result", "result": {"rows": 20, "repeat": 3, "ranks": 1}},
    ]
    with pytest.raises(SystemExit) as end:
        module.main(str(config), "1", "3", "1")
    assert end.value.code == 2
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["user"], last["message"]) == ("error", True, "too few")


# -- for people


RESULT: dict[str, Any] = {
    "method": "sgd",
    "device": None,
    "network": [28, 300, 1],
    "rows": 100_000,
    "rows_per_iteration": 500,
    "ranks": 4,
    "threads_per_rank": 1,
    "repeat": 7,
    "gemm_gflops": 80.0,
    "gemm_gflops_of_repeats": [],
    "step_gflops": 20.0,
    "fraction": 0.25,
    "seconds_per_iteration": 0.002,
    "seconds_of_repeats": [0.002] * 7,
    "set_up_s": 0.5,
    "phases": {"gram": 0.0005, "solve": 0.0015},
    "flop_per_iteration": 1.6e8,
    "memory_bandwidth_gbs": 12.5,
    "allreduce": [
        {"bytes": 4, "seconds": 1e-6, "verb": "allreduce"},
        {"bytes": 36_004, "seconds": 2e-5, "verb": "allreduce"},
    ],
    "cpu_phases": {"product": 0.01},
    "exchanges": [{"bytes": 36_004, "seconds": 1e-5, "verb": "allgather"}],
    "message_bytes": [36_004],
    "cpu_share": 0.99,
    "disturbed": False,
    "messages": [("allreduce", 36_004)],
    "peak_rss_mb": 300.0,
    "memory_estimate_mb": 320.0,
    "cpu": "A processor",
    "cores": 2,
    "mpi": "MPICH",
    "blas": ["openblas 0.3"],
}


def printed(**changes: Any) -> str:
    console = Console(width=100, file=io.StringIO())
    with console.capture() as captured:
        console.print(bench_tables(driver.Bench(**{**RESULT, **changes})))
    return captured.get()


def line(text: str, start: str) -> list[str]:
    (found,) = (line for line in text.splitlines() if line.startswith(start))
    return found.removeprefix(start).split()


def test_the_tables_say_what_was_measured() -> None:
    text = printed()
    assert line(text, "matrix product (sgemm 2048)") == ["80.0", "GFLOP/s", "on", "one", "core"]
    useful = "20.0 GFLOP/s on one core, 25 % of the matrix product"
    assert " ".join(line(text, "useful operations")) == useful
    assert line(text, "memory copy") == ["12.5", "GB/s", "per", "rank"]
    # 2 ms of 4 cores for 500 rows.
    assert line(text, "per row and iteration") == ["16", "µs", "on", "one", "core"]
    assert line(text, "memory  ") == ["300", "MB", "per", "rank", "at", "its", "peak,", "320", "expected"]
    assert line(text, "solve") == ["0.0015", "75.0", "%"]
    assert text.index("solve") < text.index("gram")
    assert line(text, "36.0 kB (one iteration's)") == ["20.0", "1.80"]
    assert "Ranks shared cores" in text
    assert "Disturbed" not in text


def test_the_tables_say_that_other_work_took_the_cores() -> None:
    text = printed(cpu_share=0.627, disturbed=True)
    assert "Disturbed: other work took the cores, iterations ran for 63 % of their time." in text


def test_the_tables_leave_out_what_there_is_not() -> None:
    no_count = {"fraction": None, "step_gflops": None, "flop_per_iteration": None}
    text = printed(**no_count, allreduce=[], ranks=2, phases={"gram": 0.0})
    for text_left_out in ("useful operations", "Useful:", "Allreduce", "shared cores"):
        assert text_left_out not in text
    assert line(text, "gram")[1:] == ["-"]
