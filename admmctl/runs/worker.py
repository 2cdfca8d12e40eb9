"""What every rank executes: load its rows, train, and on rank 0 record.

Started as ``python -m mpi4py -m admmctl.runs.worker FOLDER RANKS PATIENCE WORDS...`` by the launcher, or called
in the driver's own process for one rank. Rank 0 tells the driver what happens as JSON lines on standard output.
"""

import time

_STARTED = time.perf_counter()  # before the heavy imports: they are part of wall_s

from admmctl.launch.rank import report, tell  # noqa: E402

if __name__ == "__main__":
    report("started")

import resource  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from collections.abc import Callable, Iterator, Sequence  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from types import FrameType  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from admmctl.comm import MPI, Comm  # noqa: E402
from admmctl.data import shards  # noqa: E402
from admmctl.data.catalog import datasets  # noqa: E402
from admmctl.errors import UserError  # noqa: E402
from admmctl.experiment.config import Run, load  # noqa: E402
from admmctl.launch import rank as this_rank  # noqa: E402
from admmctl.launch.signals import handle  # noqa: E402
from admmctl.methods.method import Problem, methods, trainer  # noqa: E402
from admmctl.model.convolution import Stack  # noqa: E402
from admmctl.model.fourier import Kernel  # noqa: E402
from admmctl.model.losses import losses  # noqa: E402
from admmctl.model.network import Network, predicted, targets  # noqa: E402
from admmctl.runs import environment, memory  # noqa: E402
from admmctl.runs.checkpoint import Checkpoints  # noqa: E402
from admmctl.runs.clock import Clock  # noqa: E402
from admmctl.runs.loop import Loop  # noqa: E402
from admmctl.runs.outcome import Outcome  # noqa: E402
from admmctl.runs.record import Evaluation, RunFolder, rerun_line  # noqa: E402
from admmctl.runs.summary import Status, Summary, identity  # noqa: E402

MB = 1 << 20
Notify = Callable[[dict[str, Any]], None]


def work(
    folder: RunFolder,
    comm: Comm,
    notify: Notify,
    words: Sequence[str],
    started: float,
    on_stop: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run the experiment in ``folder`` on this rank. Rank 0 calls ``notify`` with every event.

    ``words`` of the command line said how ranks start: the summary's ``rerun`` has them. ``on_stop`` is called, by
    the handler of the signal, when this process is asked to stop.
    """
    with _stop_on_signal(on_stop) as interrupted:  # to the end: a signal that comes late breaks no writing
        return _work(folder, comm, notify, words, started, interrupted)


def _work(
    folder: RunFolder,
    comm: Comm,
    notify: Notify,
    words: Sequence[str],
    started: float,
    interrupted: Callable[[], bool],
) -> Outcome:
    shared_cores = environment.ranks_share_cores(comm)
    clock = Clock(started, cpu=shared_cores)
    run = next(iter(load(folder.path / "config.yaml").runs.values()))
    # Numbers that overflow are noticed by the loop, which calls the run diverged: no warnings besides.
    with np.errstate(all="ignore"):
        with clock.phase("load"):
            plan = shards.plan(run.data, comm.size)
            network = build_network(run, plan)
            method = trainer(run.kind, run.settings, run.loss)
            needed = memory.check(memory.estimate(plan, network, method), comm)
            free = memory.available_per_rank(comm)
            method.settle(network, plan.rows_train, comm.size, None if free is None else free - needed)
            needed = memory.check(memory.estimate(plan, network, method), comm)
            memory_mb = needed / MB
            if comm.rank == 0:
                notify(
                    {
                        "event": "planned",
                        "ranks": comm.size,
                        "memory_mb": memory_mb,
                        "checkpoints": method.checkpoints,
                    }
                )
            parts = shards.load(plan, comm)
        train, test, scaling = parts.train, parts.test, parts.scaling
        loss = losses.load(run.loss)()
        outputs = network.sizes[-1]
        problem = Problem(
            a0=train.a0,
            y=targets(train.labels, outputs),
            network=network,
            loss=loss,
            comm=comm,
            clock=clock,
            seed=run.seed,
            start=train.start,
            total=train.total,
            memory=memory.available_per_rank(comm),
            threads=environment.blas_threads(),
        )
        hosts = comm.gather(environment.host())
        unchanged: dict[str, Any] = {
            "hash": run.hash(),
            "rows": train.total,
        }  # or a checkpoint is none of this run
        if comm.rank == 0:
            assert hosts is not None
            unchanged["data"] = plan.source.fingerprint()
            described = environment.describe(run, comm, hosts, unchanged["data"])
            folder.write_environment({**described, "memory_estimate_mb": round(memory_mb)})
            notify({"event": "loaded", "rows_train": train.total, "rows_test": test.total})
        with clock.phase("load"):
            comm.barrier()  # nobody's first reduction waits for what rank 0 writes

        def on_evaluation(evaluation: Evaluation) -> None:
            if comm.rank == 0:
                folder.append(evaluation)
                folder.log(describe(evaluation))
                own = {"phases": dict(clock.seconds), "memory_mb": memory.resident_mb()}
                notify({"event": "evaluation", **evaluation.row(), **own})

        def on_note(text: str) -> None:
            if comm.rank == 0:
                folder.log(text)
                notify({"event": "note", "text": text})

        for text in plan.notes:
            on_note(text)

        def on_resume(iteration: int, evaluations: list[Evaluation]) -> None:
            if comm.rank == 0:
                folder.rewrite(evaluations)
            if iteration:
                on_note(f"going on from the checkpoint of iteration {iteration}")

        checkpoints = None
        if method.checkpoints:
            rows = train.start, train.start + train.a0.shape[1]
            checkpoints = Checkpoints(folder.path, comm, unchanged, *rows, on_note)
        loop = Loop(
            method=method,
            problem=problem,
            train=train,
            test=test,
            validation=parts.validation,
            stop=run.stop,
            evaluate=run.evaluate,
            clock=clock,
            on_evaluation=on_evaluation,
            on_note=on_note,
            interrupted=interrupted,
            checkpoints=checkpoints,
            checkpoint=run.checkpoint,
            on_resume=on_resume,
        )
        outcome = loop.run()

        if outcome.final:
            confusion = confusion_table(outcome, problem, test, len(plan.split.classes))
            if comm.rank == 0:
                folder.write_confusion({"classes": list(plan.split.classes), **confusion})

    phases = comm.gather((clock.seconds, clock.wall, peak_rss_mb(), clock.cpu_seconds))
    if comm.rank == 0:
        assert phases is not None
        folder.write_phases(summarise_phases([p[0] for p in phases], [p[1] for p in phases]))
        if shared_cores:
            folder.write_phases(over_ranks([p[3] for p in phases]), "cpu.csv")
        if outcome.final:
            folder.write_weights(
                {"best": outcome.best or outcome.final, "final": outcome.final},
                {
                    "bias": network.bias,
                    "activation": run.network.activation,
                    "loss": run.loss,
                    "classes": np.asarray(plan.split.classes),
                    "threshold": loss.threshold,
                    "input_shift": scaling.shift,
                    "input_factor": scaling.factor,
                    "best_iteration": outcome.best_iteration,
                    "final_iteration": outcome.evaluations[-1].iteration,
                    **({} if outcome.gates is None else {"gates": outcome.gates}),
                    **({} if network.convolution is None else {"convolution": network.convolution.packed()}),
                },
            )
        interrupted_run = outcome.status == Status.INTERRUPTED
        folder.write_summary(
            Summary(
                **identity(run, comm.size),
                status=outcome.status,
                reason=outcome.reason,
                time_to_target_s=outcome.time_to_target_s,
                previous_evaluation_s=outcome.previous_evaluation_s,
                iterations=outcome.iterations,
                best_test_accuracy=outcome.best_test_accuracy,
                final_test_accuracy=outcome.final_test_accuracy,
                train_s=outcome.train_s,
                wall_s=max(p[1] for p in phases),
                load_s=max(p[0].get("load", 0.0) for p in phases),
                threads_per_rank=environment.blas_threads(),
                rows_train=train.total,
                rows_test=test.total,
                peak_rss_mb=max(p[2] for p in phases),
                rerun=rerun_line(folder.path, comm.size, environment.blas_threads(), words, interrupted_run),
            )
        )
        if checkpoints is not None and not interrupted_run:
            checkpoints.remove()
        notify({"event": "finished", "status": outcome.status})
    return outcome


def confusion_table(outcome: Outcome, problem: Problem, test: shards.Shard, classes: int) -> dict[str, Any]:
    """Test rows by true class (rows) and predicted class (columns), for the final and the best weights."""
    tables = {}
    for name, W in (("final", outcome.final), ("best", outcome.best or outcome.final)):
        labels = predicted(problem.network, W, problem.loss.threshold, test.a0)
        counts = np.zeros((classes, classes + 1))  # the last column: outputs that were NaN, of no class
        np.add.at(counts, (test.labels, labels), 1)
        problem.comm.allreduce(counts)
        tables[name] = (counts if counts[:, -1].any() else counts[:, :-1]).astype(int).tolist()
    return tables


def build_network(run: Run, plan: shards.Plan) -> Network:
    """The network for the data at hand: two classes make one output unless ``outputs`` says otherwise."""
    return shape_network(run, plan.source.features, len(plan.split.classes))


def shape_network(run: Run, features: int, classes: int) -> Network:
    """The network for rows of that many features in that many classes. Raises UserError."""
    outputs = run.network.outputs or (1 if classes == 2 else classes)
    if outputs == 1 and classes > 2:
        raise UserError(f"network.outputs: 1 output for {classes} classes; valid: {classes}")
    if outputs != 1 and outputs != classes:
        raise UserError(f"network.outputs: {outputs} outputs for {classes} classes; valid: {classes}")
    s, method, layers = run.network, methods.load(run.kind), list(run.network.layers)
    layers = method.hidden_layers(run.settings, layers, outputs)
    kernel = None
    if s.init != "random":
        assert s.init_scale is not None  # the config was checked
        kernel = Kernel(s.init, s.init_scale, s.init_smoothness or Kernel.smoothness)
    return Network.build(features, layers, outputs, s.activation, s.bias, kernel, _stack(run, features))


def _stack(run: Run, features: int) -> Stack | None:
    """The convolutional layers for rows of that many features. Raises UserError."""
    given = run.network.convolution
    if given is None:
        return None
    shape = given.image or datasets.load(run.data.name)().image(run.data)
    assert shape is not None  # the config was checked
    channels, height, width = shape
    if channels * height * width != features:
        raise UserError(
            f"network.convolution.image: images of {channels} x {height} x {width} have "
            f"{channels * height * width:,} numbers, and rows have {features:,} features"
        )
    size = (height, width) if given.size == "full" else (given.size, given.size)
    return Stack((channels, height, width), tuple(given.filters), size, given.pool)


def describe(evaluation: Evaluation) -> str:
    """One plain line per evaluation, for logs and pipes."""
    e = evaluation
    return (
        f"iteration {e.iteration:>5}  train {e.train_s:9.3f} s  loss {e.train_loss:.6f}  "
        f"train accuracy {e.train_accuracy:.4f}  test accuracy {e.test_accuracy:.4f}"
    )


def summarise_phases(seconds: list[dict[str, float]], walls: list[float]) -> dict[str, tuple[float, float, float]]:
    """Largest, mean and smallest seconds over ranks of every phase; 'rest' is what no phase counted."""
    rest = [wall - sum(rank.values()) for rank, wall in zip(seconds, walls, strict=True)]
    return over_ranks(
        [{**rank, "rest": left, "wall": wall} for rank, left, wall in zip(seconds, rest, walls, strict=True)]
    )


def over_ranks(seconds: list[dict[str, float]]) -> dict[str, tuple[float, float, float]]:
    """The largest, mean and smallest over ranks of every name; a rank that lacks one has zero there."""
    names = list(dict.fromkeys(name for rank in seconds for name in rank))
    # What sums up the others comes last.
    names.sort(key=lambda name: ("rest", "wall").index(name) if name in ("rest", "wall") else -1)
    table = {name: [rank.get(name, 0.0) for rank in seconds] for name in names}
    return {name: (max(values), float(np.mean(values)), min(values)) for name, values in table.items()}


def peak_rss_mb() -> float:
    """The largest memory this process has held, in MiB."""
    try:
        # Not what getrusage says: on Linux that is handed down from the process that started this one.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) / 1024
    except (OSError, ValueError, IndexError):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (MB if sys.platform == "darwin" else MB >> 10)


@contextmanager
def _stop_on_signal(on_stop: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Within the block, Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 ask for a stop at the end of the iteration.

    A second Ctrl-C does not wait for it. Outside the main thread Python handles no signals: nothing changes.
    """
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)
        on_stop()

    in_main_thread = threading.current_thread() is threading.main_thread()
    before = handle(ask) if in_main_thread else {}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(folder: str, ranks: str, patience: str, *words: str) -> None:
    """One rank of a job. An error is one JSON line for the driver, and ends the job on every rank."""

    rank = 0
    this_rank.end_with_the_launcher()
    try:
        comm = this_rank.connect(int(ranks))
        rank = comm.rank
        this_rank.answer(comm, environment.host()["name"])
        if float(patience) and isinstance(comm, MPI):
            this_rank.watch(comm, environment.host()["name"], float(patience))
        work(RunFolder(Path(folder)), comm, tell, words, _STARTED)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # the run is recorded, and its ranks take their leave
    except UserError as error:
        tell({"event": "error", "rank": rank, "user": True, "message": str(error)})
        raise SystemExit(UserError.exit_code) from None
    except SystemExit as end:
        message = f"it ended before the run did, with exit code {end.code or 0}"
        tell({"event": "error", "rank": rank, "user": False, "message": message})
        raise SystemExit(1) from None  # with 0 the others would wait for it forever
    except BaseException as error:
        message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        tell({"event": "error", "rank": rank, "user": False, "message": message})
        raise  # the traceback is printed by whoever started this rank, and goes to log.txt


if __name__ == "__main__":
    main(*sys.argv[1:])
