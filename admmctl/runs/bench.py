"""What ``admmctl bench`` runs on every rank: how fast this machine is, and how much of that a method uses.

Started as ``python -m mpi4py -m admmctl.runs.bench CONFIG ROWS REPEAT RANKS`` by the driver, or called in its
own process for one rank. Everything is measured in one run, the peak between the steps: ratios hold even where
the machine's speed drifts.
"""

from admmctl.launch.rank import connect, report, tell

if __name__ == "__main__":
    report("started")  # before the heavy imports

import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from admmctl.comm import Comm, Serial, Verb
from admmctl.data.catalog import datasets
from admmctl.data.shards import share
from admmctl.devices.settings import DeviceSettings, device_name
from admmctl.devices.speed import Product
from admmctl.errors import UserError
from admmctl.experiment.config import Run, load
from admmctl.methods.method import Array, Diverged, Finished, Message, Method, Problem, start, trainer
from admmctl.model.losses import losses
from admmctl.model.network import Network, targets
from admmctl.runs import environment, memory
from admmctl.runs.build import shape_network
from admmctl.runs.clock import Clock, over_ranks
from admmctl.runs.disturbed import Work, judge
from admmctl.runs.memory import MB, peak_rss_mb

Say = Callable[[str], None]  # what is measured now

GEMM_SIZE = 2048  # the peak is that of sgemm at this size, by the house's definition
_STREAM_BYTES = 128 << 20  # larger than any cache
_SHORT, _MOST_STEPS = 0.02, 1000  # seconds of the steps that are timed together, and how many these are at most
_MESSAGES = tuple(4**power for power in range(1, 13))  # bytes: 4 to 16 MiB


def machine(comm: Comm, messages: tuple[Message, ...], repeat: int, say: Say) -> dict[str, Any]:
    """What this machine can do with every rank at work: rates of one rank, seconds of an Allreduce by bytes."""
    say("memory bandwidth")
    bandwidth = _bandwidth(repeat, comm)
    say("Allreduce")
    sizes = sorted({*_MESSAGES, *(message.bytes for message in messages)}) if comm.size > 1 else []
    here = environment.host()
    return {
        "ranks": comm.size,
        "threads_per_rank": 1,
        "cpu": here.cpu,
        "cores": here.cores,
        "mpi": comm.library(),
        "blas": environment.blas(),
        "memory_bandwidth_gbs": bandwidth,
        "allreduce": [{"bytes": size, "seconds": _seconds(comm, "allreduce", size)} for size in sizes],
        "exchanges": [
            {"verb": verb, "bytes": size, "seconds": _seconds(comm, verb, size)}
            for verb, size in sorted(set(messages))
            if comm.size > 1 and verb in ("reduce_scatter", "allgather")
        ],
        "message_bytes": [message.bytes for message in messages],
        "messages": [list(message) for message in messages],
    }


def measure(run: Run, rows: int, repeat: int, comm: Comm, say: Say) -> dict[str, Any]:
    """Peaks of this machine and steps of ``run`` on synthetic rows, one thread per rank; meant for rank 0.

    ``rows`` are training rows of all ranks; with none of them, the machine alone is measured. Rates are those
    of one rank, medians over ranks and repeats. Raises UserError where the rows do not fit into memory.
    """
    # Numbers that overflow end the method, which says so: no warnings besides.
    with threadpool_limits(limits=1, user_api="blas"), np.errstate(all="ignore"):
        features, classes = datasets.load(run.data.name)().shape(run.data)
        network = shape_network(run, features, classes)
        method = trainer(run.kind, run.settings, run.loss)
        cost = method.cost(network, -(-rows // comm.size), max(rows, 1), comm.size)
        if rows == 0:
            result = machine(comm, cost.messages, repeat, say)
            peaks = [_peak(comm, _square()) for _ in range(repeat + 1)][1:]
            return {**result, "gemm_gflops": _over(comm, statistics.median(peaks), np.median)}
        estimate = memory.estimate_of(network, method, rows, 0, 4 * (features + 1) + 12)
        memory.check(estimate, comm)
        result = machine(comm, cost.messages, repeat, say)
        say(f"{run.method} on {rows:,} rows")
        steps = _steps(method, _problem(run, network, rows, comm), repeat, say)
        peak = _over(comm, statistics.median(steps.peaks), np.median)
        seconds = statistics.median(steps.seconds)
        rate = None if cost.flop is None else cost.flop / seconds / comm.size / 1e9
        return {
            "method": run.method,
            "device": device_name(run.settings),
            "network": list(network.sizes),
            "rows": rows,
            "rows_per_iteration": cost.rows,
            "repeat": repeat,
            "gemm_gflops": peak,
            "gemm_gflops_of_repeats": [_over(comm, each, np.median) for each in steps.peaks],
            "step_gflops": rate,
            "fraction": None if rate is None else rate / peak,
            "seconds_per_iteration": seconds,
            "seconds_of_repeats": steps.seconds,
            "set_up_s": steps.set_up,
            **vars(judge(steps.works, environment.ranks_share_cores(comm), streams=False)),
            "phases": steps.phases,
            "cpu_phases": steps.cpu_phases,
            "flop_per_iteration": cost.flop,
            "peak_rss_mb": _over(comm, peak_rss_mb(), max),
            # The arrays of the memory copy are gone before the rows are made.
            "memory_estimate_mb": max(estimate.per_rank(comm.size), memory.PROGRAM_BYTES + 2 * _STREAM_BYTES) / MB,
            **result,
        }


@dataclass
class _Steps:
    """Measured steps: seconds of the slowest rank each, this rank's matrix-product peaks, seconds by phase.

    ``works`` are the ranks' own work in all of them; on rank 0.
    """

    seconds: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)
    cpu_phases: dict[str, float] = field(default_factory=dict)  # the same in processor time
    set_up: float = 0.0
    works: list[Work | None] = field(default_factory=list)


def _steps(method: Method, problem: Problem, repeat: int, say: Say) -> _Steps:
    """One step to warm up, then ``repeat`` of them, a large matrix product before each.

    The matrix product empties the caches: of short steps, which would only fill them again, many are made in its
    place, and their mean is taken.
    """
    comm, clock, result = problem.comm, problem.clock, _Steps()
    assert isinstance(clock, Clock)
    phases: list[dict[str, float]] = []
    cpu_phases: list[dict[str, float]] = []
    own: list[tuple[float, float]] = []
    state = start(method, problem)
    result.set_up = _over(comm, clock.train, max)
    product = _product(method, comm)
    fresh, number = True, 1
    clock.begin_training()
    try:
        while len(phases) <= repeat:
            say(f"iteration {len(phases)} of {repeat}")
            peak = product()
            comm.barrier()
            clock.seconds.clear()
            clock.cpu_seconds.clear()
            made = 0
            try:
                with clock.phase("other"):
                    while made < number:
                        state = method.step(state)
                        made += 1
            except (Finished, Diverged) as end:
                if (fresh and not made) or (number == 1 and isinstance(end, Diverged)):
                    raise
                # It can do nothing more from here: from another start it can.
                number = made if fresh else number
                method.close(state)
                state, fresh = method.init(problem), True
                continue
            fresh = False
            result.peaks.append(peak)
            result.seconds.append(_over(comm, clock.train / number, max))
            phases.append({name: seconds / number for name, seconds in clock.seconds.items()})
            cpu_phases.append({name: seconds / number for name, seconds in clock.cpu_seconds.items()})
            own.append(clock.own)
            if len(phases) == 1:
                number = max(1, min(_MOST_STEPS, math.ceil(_SHORT / result.seconds[0])))
    except (Finished, Diverged) as end:
        raise UserError(
            f"bench: the method ends after {len(phases)} iterations on synthetic rows: {end}"
        ) from None
    finally:
        clock.end_training()
        method.close(state)
    for measured in (result.peaks, result.seconds, phases, cpu_phases, own):
        del measured[0]  # the one to warm up
    seconds, ran = (sum(each) for each in zip(*own, strict=True))
    result.works = comm.gather(Work(seconds, ran, clock.queued)) or []
    result.phases, result.cpu_phases = _middle(comm, phases), _middle(comm, cpu_phases)
    return result


def _middle(comm: Comm, phases: list[dict[str, float]]) -> dict[str, float]:
    """The median of every phase, of the rank on which it is largest."""
    names = dict.fromkeys(name for phase in phases for name in phase)
    mine = {name: statistics.median(phase.get(name, 0.0) for phase in phases) for name in names}
    ranks = comm.gather(mine)
    return {name: largest for name, (largest, _, _) in over_ranks(ranks or [mine]).items()}


def _product(method: Method, comm: Comm) -> Callable[[], float]:
    """What measures the peak that the method is held against: of its device, or of NumPy on this rank's core."""
    settings = method.settings
    if isinstance(settings, DeviceSettings) and settings.backend == "torch":
        product = Product(settings.place(comm), settings.matmul)

        def of_device() -> float:
            comm.barrier()
            return product.gflops()

        return of_device
    square = _square()
    return lambda: _peak(comm, square)


def _square() -> Array:
    """Twice a square matrix: the factor, and room for its product with itself."""
    return np.random.default_rng(0).standard_normal((2, GEMM_SIZE, GEMM_SIZE), dtype=np.float32)


def _peak(comm: Comm, square: Array) -> float:
    """GFLOP/s of a matrix product on this rank, while all others do the same: of processor time, which other
    programs do not change.
    """
    comm.barrier()
    start = time.process_time()
    np.matmul(square[0], square[0], out=square[1])
    return 2 * GEMM_SIZE**3 / max(time.process_time() - start, 1e-9) / 1e9


def peak_gflops(repeat: int = 3) -> float:
    """GFLOP/s of a matrix product on one core of this machine: the median of so many."""
    with threadpool_limits(limits=1, user_api="blas"):
        square = _square()
        return statistics.median([_peak(Serial(), square) for _ in range(repeat + 1)][1:])


def _over(comm: Comm, value: float, how: Callable[[list[float]], float]) -> float:
    """``how`` of every rank's value, on all ranks."""
    values = np.zeros(comm.size)
    values[comm.rank] = value
    comm.allreduce(values)
    return float(how(values.tolist()))


def _problem(run: Run, network: Network, rows: int, comm: Comm) -> Problem:
    """Normal inputs, labels by the sign or the largest of a few of them; the time depends on neither."""
    start, stop = share(rows, comm.rank, comm.size)
    generator = np.random.default_rng([run.seed, comm.rank])
    samples = np.ones((stop - start, network.sizes[0] + 1), np.float32)
    chunk = 65_536
    for low in range(0, len(samples), chunk):
        part = samples[low : low + chunk, :-1]
        part[...] = generator.standard_normal(part.shape, dtype=np.float32)
    outputs = network.sizes[-1]
    of_class = samples[:, :outputs].argmax(axis=1) if outputs > 1 else samples[:, 0] > 0
    y: Array = targets(of_class.astype(np.int64), outputs)
    loss, threads = losses.load(run.loss)(), environment.blas_threads()
    return Problem(samples.T, y, network, loss, comm, Clock(), run.seed, start, rows, threads=threads)


def _bandwidth(repeat: int, comm: Comm) -> float:
    """GB/s of a copy between two large arrays on every rank at once: what is read and what is written."""
    source, target = (np.ones(_STREAM_BYTES // 8) for _ in range(2))
    rates = []
    for _ in range(repeat + 1):
        comm.barrier()
        start = time.perf_counter()
        np.copyto(target, source)
        rates.append(2 * source.nbytes / (time.perf_counter() - start) / 1e9)
    return _over(comm, statistics.median(rates[1:]), np.median)


def _seconds(comm: Comm, verb: Verb, size: int) -> float:
    """Seconds of one message of ``size`` bytes: of the slowest rank, the median of many. Pieces are equal."""
    buffer = np.zeros(max(1, size // 4), np.float32)
    counts = [stop - start for start, stop in (share(len(buffer), rank, comm.size) for rank in range(comm.size))]
    send: dict[Verb, Callable[[], None]] = {
        "allreduce": lambda: comm.allreduce(buffer),
        "reduce_scatter": lambda: comm.reduce_scatter(buffer, counts),
        "allgather": lambda: comm.allgather(buffer, counts),
    }
    times = []
    for _ in range(5 if size > 1 << 20 else 25):
        comm.barrier()
        start = time.perf_counter()
        send[verb]()
        times.append(_over(comm, time.perf_counter() - start, max))
    return statistics.median(times[2:])


def main(config: str, rows: str, repeat: str, ranks: str) -> None:
    """One rank of a bench; rank 0 tells the driver what it does, and the result, as JSON lines."""

    def on_first(event: dict[str, Any]) -> None:
        if rank == 0:
            tell(event)

    rank = 0
    try:
        comm = connect(int(ranks))
        rank = comm.rank
        run = next(iter(load(config).runs.values()))
        result = measure(run, int(rows), int(repeat), comm, lambda what: on_first({"event": "at", "what": what}))
        on_first({"event": "result", "result": result})
    except UserError as error:
        on_first({"event": "error", "rank": rank, "user": True, "message": str(error)})
        raise SystemExit(UserError.exit_code) from None


if __name__ == "__main__":
    main(*sys.argv[1:])
