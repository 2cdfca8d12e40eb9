"""A loop on ten rows, and methods and clocks that follow a script."""

from contextlib import contextmanager

import numpy as np

from admmctl.data.shards import Shard
from admmctl.experiment.config import Evaluate, Stop
from admmctl.methods.method import Method, Problem
from admmctl.model.losses import losses
from admmctl.model.network import Network
from admmctl.runs.loop import Loop
from support.ranks import CountingComm

ROWS = 10


class ScriptedClock:
    """A clock that the method moves: ``train`` counts what was spent in steps."""

    def __init__(self):
        self.train = 0.0
        self.wall = 0.0

    @contextmanager
    def phase(self, name):
        yield

    def begin_training(self):
        pass

    def end_training(self):
        pass


class ScriptedMethod(Method):
    """Step i leads to the training loss, test accuracy and residual that the script says.

    The last entry lasts for ever; an entry may be an exception, which the step raises.
    """

    def __init__(self, script, rows_per_step=ROWS, seconds_per_step=0.0):
        self.script = [{"loss": 1.0, "accuracy": 0.5, "residual": 1.0} | entry for entry in script]
        self.rows_per_step = rows_per_step
        self.seconds_per_step = seconds_per_step

    def init(self, problem):
        self.clock = problem.clock
        return self._at(0)

    def step(self, state):
        self.clock.train += self.seconds_per_step
        self.clock.wall += self.seconds_per_step + 1.0
        return self._at(state + 1)

    def _at(self, iteration):
        if "raises" in self._entry(iteration):
            raise self._entry(iteration)["raises"]
        return iteration

    def _entry(self, iteration):
        return self.script[min(iteration, len(self.script) - 1)]

    def weights(self, iteration):
        entry = self._entry(iteration)
        return [np.array([[1.0 - np.sqrt(entry["loss"]), 1.0, entry["accuracy"] - 0.5]])]

    def rows_seen(self, iteration):
        return iteration * self.rows_per_step

    def residuals(self, iteration):
        return {"residual": self._entry(iteration)["residual"]}


class Watched:
    """Keeps the evaluations that it is told of."""

    def __init__(self, shown):
        self.evaluated = shown.append

    def note(self, text):
        pass

    def resumed(self, iteration, evaluations):
        pass


def loop(method, *, evaluate=None, interrupted=lambda: False, comm=None, **stop):
    """A loop over ten rows, all of class 1.

    The weights are (u, 1, v): a training row (1, 0, 0) has the output u, so that its loss is (1 - u)^2; test
    row i is (0, (i + 1/2) / 10, 1), above the threshold for as many rows as v asks.
    """
    train = np.zeros((3, ROWS))
    train[0] = 1.0
    test = np.stack([np.zeros(ROWS), (np.arange(ROWS) + 0.5) / ROWS, np.ones(ROWS)])
    labels = np.ones(ROWS, dtype=np.int64)
    y = np.ones((1, ROWS))
    network = Network.build(2, [], 1, "relu", True)
    clock = ScriptedClock()
    problem = Problem(train, y, network, losses.load("squared")(), comm or CountingComm(), clock, 0, 0, ROWS)
    shown = []
    return Loop(
        method=method,
        problem=problem,
        train=Shard(train, labels, 0, ROWS),
        test=Shard(test, labels, 0, ROWS),
        validation=None,
        stop=Stop(**stop),
        evaluate=evaluate or Evaluate(),
        clock=clock,
        listener=Watched(shown),
        interrupted=interrupted,
    ), shown
