"""About how long runs take, before any of them is made.

Where a run of the same settings is recorded, of another seed for instance, its seconds are taken, scaled to the
iterations asked for. Else they are counted, for the whole budget: a run that meets its target ends sooner.

    seconds = START + iterations (STEP + flop / rate) + evaluations (STEP + forward / rate)
    rate    = threads x FRACTION x the peak of a core's matrix product

``flop`` are the busiest rank's operations of an iteration (``Cost.flop``), ``forward`` those of its rows once
through the network. Messages, set-up and compiling are left out. docs/measuring.md says how far off it was.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median
from typing import NamedTuple

from admmctl.data.catalog import datasets
from admmctl.data.sizes import Sizes, sizes
from admmctl.errors import UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Run
from admmctl.launch import local
from admmctl.methods.method import trainer
from admmctl.model.gradient import gradient_flop
from admmctl.runs.bench import peak_gflops
from admmctl.runs.build import shape_network
from admmctl.runs.places import root
from admmctl.runs.reading import CONFIG
from admmctl.runs.recorded import Recorded
from admmctl.runs.summary import Status

FRACTION = 0.4  # of a core's peak that a run makes use of, element-wise work and all
STEP = 1.0e-4  # seconds of an iteration, or of an evaluation, besides its operations
START, START_OF_RANKS = 0.2, 0.7  # seconds before the first iteration: in this process, or of ranks to be started
GRADIENTS = 2  # of an iteration, at least, where their number is for a line search or a solver to say


@dataclass(frozen=True)
class Job:
    """A run that something needs, on so many ranks; ``done``: it is recorded already.

    ``place`` is its folder in a study. It is empty for a run of its own, which others may need as well.
    """

    run: Run
    ranks: int
    done: bool
    place: str = ""

    @property
    def identity(self) -> tuple[str, int, str]:
        """The same for jobs that are one run."""
        return self.run.yaml(), self.ranks, self.place


class Guess(NamedTuple):
    """About how many seconds a run takes; ``recorded``: as long as another one of its settings did."""

    seconds: float
    recorded: bool


@dataclass(frozen=True)
class Total:
    """What ``runs`` runs take together: of ``counted`` it was counted, of ``unknown`` nothing can be said."""

    runs: int
    seconds: float
    counted: int
    unknown: int


class Estimator:
    """Guesses how long runs take. ``peak`` measures this machine, once, if something has to be counted."""

    def __init__(self, peak: Callable[[], float] = peak_gflops) -> None:
        self._peak = peak
        self._sizes: dict[str, Sizes | None] = {}
        self._guesses: dict[tuple[str, int], Guess | None] = {}
        self._recorded: dict[tuple[str, str, int], list[tuple[Recorded, Run]]] = {}

    @cached_property
    def gflops(self) -> float:
        """GFLOP/s of a matrix product on one core of this machine."""
        return self._peak()

    def total(self, jobs: Iterable[Job]) -> Total:
        """Of the jobs that are not done."""
        guesses = [self.guess(job.run, job.ranks) for job in jobs if not job.done]
        known = [guess for guess in guesses if guess is not None]
        counted = sum(not guess.recorded for guess in known)
        return Total(len(guesses), sum(guess.seconds for guess in known), counted, len(guesses) - len(known))

    def sizes(self, run: Run) -> Sizes | None:
        """The rows of a run; see ``data.sizes``."""
        key = run.data.model_dump_json()
        if key not in self._sizes:
            self._sizes[key] = sizes(run.data)
        return self._sizes[key]

    def guess(self, run: Run, ranks: int) -> Guess | None:
        """About how long a run takes. None where its rows are not known."""
        key = replace(run, seed=0).yaml(), ranks
        if key not in self._guesses:
            self._guesses[key] = self._guessed(run, ranks)
        return self._guesses[key]

    def _guessed(self, run: Run, ranks: int) -> Guess | None:
        rows = self.sizes(run)
        if rows is None or not rows.train:
            return None
        work = _work(run, ranks, rows)
        if (seconds := self._as_recorded(run, ranks, rows, work)) is not None:
            return Guess(seconds, True)
        rate = (local.threads_per_rank(run.threads, ranks) or 1) * FRACTION * self.gflops * 1e9
        iteration = STEP + work.flop / rate
        iterations = min(work.iterations, (run.stop.seconds or math.inf) / iteration)
        evaluations = 1 + iterations / work.between
        start = START if ranks == 1 else START_OF_RANKS
        return Guess(start + iterations * iteration + evaluations * (STEP + work.forward / rate), False)

    def _as_recorded(self, run: Run, ranks: int, rows: Sizes, work: "_Work") -> float | None:
        """The median seconds of recorded runs of the same settings, undisturbed ones where there are some."""
        key = run.experiment, run.method, ranks
        if key not in self._recorded:
            self._recorded[key] = _finished(*key)
        found = [
            (recorded, before)
            for recorded, before in self._recorded[key]
            if recorded.row.get("rows_train") == rows.train and same_settings(run, before)
        ]
        found = [each for each in found if not each[0].disturbed] or found
        seconds = [_scaled(*each, run, work.iterations) for each in found]
        known = [value for value in seconds if value is not None]
        return median(known) if known else None


class _Work(NamedTuple):
    """What a run does at most; operations are those of its busiest rank."""

    flop: float  # of an iteration
    forward: float  # of an evaluation
    iterations: float  # until its budget of iterations or epochs is used up; inf without one
    between: float  # iterations from one evaluation to the next


def _work(run: Run, ranks: int, rows: Sizes) -> _Work:
    network = shape_network(run, *datasets.load(run.data.name)().shape(run.data))
    method = trainer(run.kind, run.settings, run.loss)
    cost = method.cost(network, -(-rows.train // ranks), rows.train, ranks)
    if cost.flop is None:
        # A pass over the rows ends in a sum of as many numbers as there are weights.
        sent = [message.bytes for message in cost.messages]
        passes = sum(sent) / max(sent) if sent else 0
        flop = max(GRADIENTS, passes) * gradient_flop(network, cost.rows) / ranks
    else:
        on_weights = method.cost(network, rows.train, rows.train).solve
        flop = max(cost.flop - on_weights, 0) / ranks + cost.solve
    forward = sum(network.operator(l).flop(network.bias) for l in range(1, network.layers + 1))  # of a row
    epoch = rows.train / cost.rows  # iterations
    budget = [run.stop.iterations, None if run.stop.epochs is None else math.ceil(run.stop.epochs * epoch)]
    return _Work(
        flop=flop,
        forward=forward * rows.all / ranks,
        iterations=min((limit for limit in budget if limit is not None), default=math.inf),
        between=run.evaluate.every * (epoch if run.evaluate.unit == "epoch" else 1),
    )


def _finished(experiment: str, method: str, ranks: int) -> list[tuple[Recorded, Run]]:
    """Recorded runs that came to their end, alone or in scaling studies, and what their experiment files say."""
    folder, name = root() / experiment, f"{method}-p{ranks}-s*"
    recorded = map(Recorded, [*folder.glob(name), *folder.glob(f"scaling-*/{name}")])
    ended = [run for run in recorded if run.summary is not None and run.summary.status in _ENDED]
    return [(run, before) for run in ended if (before := described(run, method)) is not None]


_ENDED = (Status.REACHED, Status.EXHAUSTED)


def described(recorded: Recorded, method: str) -> Run | None:
    """A recorded run as the experiment file in its folder has it; None where that is damaged, or of another."""
    try:
        return configuration.load(recorded.folder / CONFIG).runs.get(method)
    except UserError:
        return None


def same_settings(run: Run, before: Run) -> bool:
    """Whether two runs differ in their seeds and their budgets alone."""
    return replace(before, seed=run.seed, stop=run.stop, checkpoint=run.checkpoint).document() == run.document()


def _scaled(recorded: Recorded, before: Run, run: Run, iterations: float) -> float | None:
    """The seconds of a recorded run, for as many iterations as ``run`` makes at most."""
    wall, made = recorded.number("wall_s"), recorded.number("iterations")
    same_target = (before.stop.target, before.stop.metric) == (run.stop.target, run.stop.metric)
    if wall is None or before.stop == run.stop or (same_target and recorded.status == Status.REACHED):
        return wall
    return wall * iterations / made if made and math.isfinite(iterations) else None
