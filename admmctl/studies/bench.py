"""``admmctl bench``: the driver of ``admmctl.runs.bench``."""

import shlex
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from admmctl.comm import Serial
from admmctl.devices.settings import DeviceSettings
from admmctl.errors import Interrupted, RunFailed, UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Run
from admmctl.launch.ended import Event
from admmctl.launch.job import watch
from admmctl.launch.options import Options, check_options
from admmctl.methods.method import methods
from admmctl.runs.bench import measure
from admmctl.runs.build import check_method
from admmctl.studies.study import Exchange

MOST_ROWS = 10**10
# Taylor's network for HIGGS: what is measured when no experiment is named.
DEFAULT: dict[str, Any] = {
    "name": "bench",
    "data": {"name": "higgs"},
    "network": {"layers": [300]},
    "loss": "hinge",
    "methods": {"admm": {"penalties": "fixed"}},  # as the paper has them
}


class Bench(BaseModel):
    """What ``bench --json`` prints: see ``runs.bench.measure``. Rates are those of one rank, times in seconds."""

    method: str
    device: str | None = None  # what computes in the place of NumPy, and whose matrix product the peak is
    network: list[int]
    rows: int
    rows_per_iteration: int
    repeat: int
    gemm_gflops: float
    gemm_gflops_of_repeats: list[float] = []  # just before each of these iterations; empty in older documents
    step_gflops: float | None
    fraction: float | None
    seconds_per_iteration: float
    seconds_of_repeats: list[float]
    set_up_s: float
    phases: dict[str, float]
    cpu_phases: dict[str, float]  # in processor time
    flop_per_iteration: int | float | None
    cpu_share: float | None  # see runs.disturbed: of these iterations
    disturbed: bool | None
    peak_rss_mb: float
    memory_estimate_mb: float
    ranks: int
    threads_per_rank: int
    cpu: str
    cores: int
    mpi: str
    blas: list[str]
    memory_bandwidth_gbs: float
    allreduce: list[Exchange]
    message_bytes: list[int]
    messages: list[tuple[str, int]]  # a verb of the communicator, and the bytes of its buffer
    exchanges: list[Exchange] = []  # of the method's own messages, but for Allreduces


def bench(
    config: Path | None,
    method: str | None = None,
    rows: int = 100_000,
    cores: int = 1,
    repeat: int = 5,
    overrides: Iterable[str] = (),
    say: Callable[[str], None] = lambda what: None,
    oversubscribe: bool = False,
    device: str | None = None,
) -> Bench:
    """Measure this machine and the step of one method at an experiment's shapes, on ``cores`` ranks.

    With a ``device`` the step is PyTorch's there, and held against that device's matrix product.
    ``say`` is called with what is being measured. Raises UserError for wrong usage and where the rows do not fit
    into memory, RunFailed when a rank breaks.
    """
    run = chosen(config, method, overrides, device)
    if not cores <= rows <= MOST_ROWS:
        raise UserError(
            f"--rows {rows:,}: expected {cores:,} or more, a row for every rank, at most {MOST_ROWS:,}"
        )
    if not 1 <= repeat <= 1000:
        raise UserError(f"--repeat {repeat}: expected 1 to 1,000")
    options = check_options(cores, launcher="inline" if cores == 1 else "auto", oversubscribe=oversubscribe)
    options.check(elsewhere="")
    check_method(run, cores)
    return Bench(**on_cores(run, rows, repeat, options, say))


def chosen(
    config: Path | None, method: str | None, overrides: Iterable[str] = (), device: str | None = None
) -> Run:
    """The run whose step is measured, by PyTorch where there is a ``device``. Raises UserError."""
    if method == "all":
        raise UserError("--method all: bench measures one method at a time; name one")
    document, changes = DEFAULT if config is None else config, [*overrides]
    run = configuration.load(document, changes).select(method)[0]
    if device is None:
        return run
    if not isinstance(run.settings, DeviceSettings):
        able = [name for name in methods if issubclass(methods.load(name).Settings, DeviceSettings)]
        raise UserError(f"--device: method {run.kind} has no choice of it; these have: {', '.join(able)}")
    block = f"methods.{run.method}"
    changes += [f"{block}.backend=torch", f"{block}.device={device}"]
    return configuration.load(document, changes).select(run.method)[0]


def on_cores(run: Run, rows: int, repeat: int, options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """``runs.bench.measure`` on the ranks of ``options``, which are checked; one rank is this process."""
    if options.cores == 1:
        return measure(run, rows, repeat, Serial(), say)
    results: list[dict[str, Any]] = []

    def on_event(event: Event) -> None:
        if event["event"] == "result":
            results.append(event["result"])
        elif text := event.get("what", event.get("text")):
            say(text)

    with tempfile.TemporaryDirectory(prefix="admmctl-bench-") as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(run.yaml(), encoding="utf-8")
        arguments = ["-m", "admmctl.runs.bench", str(path), str(rows), str(repeat), str(options.cores)]
        command = options.command(arguments, 1)
        end = watch(command, on_event)
    try:
        end.raise_failure(finished=bool(results) and end.stopped_by is None)
    except Interrupted:
        raise Interrupted("interrupted") from None
    except RunFailed as failure:
        raise RunFailed(f"{failure}\nThe ranks were started by: {shlex.join(command.line)}") from None
    return results[0]
