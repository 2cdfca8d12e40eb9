"""The W-update of a layer of 4,000 on MNIST, exact and low-rank over p: accuracy, seconds, numbers sent, memory.

    admmctl fetch mnist
    python benchmarks/low_rank.py [--methods exact,nystrom-pcg,nystrom] [--iterations 8] [--rows 10000]

The methods of configs/mnist-wide.yaml one after another, one rank, one BLAS thread; on a shared machine compare
columns of one run alone. Of the wide layer, per iteration: ``sum`` are the seconds over the rows for z a' and a a'
or columns of it, ``solve`` those for W, medians; ``W-update`` both. ``floats`` are what it sends in the Allreduce.
``MB`` are its sums and the most that solving took besides, at any time.
"""

import argparse
import os
import statistics
import time
import tracemalloc
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from admmctl.comm import Serial
from admmctl.data import shards
from admmctl.experiment.config import load
from admmctl.methods.method import Problem, methods
from admmctl.model.losses import losses
from admmctl.model.network import Network, targets
from admmctl.runs.clock import Clock

CONFIG = Path(__file__).parents[1] / "configs" / "mnist-wide.yaml"
WIDE = 2  # the layer above the wide one


class Timed:
    """The sums of a layer, with the seconds, numbers and bytes that they take."""

    def __init__(self, sums):
        self.sums, self.steps, self.ridge = sums, None, 0.0
        self.adding, self.floats, self.solving = 0.0, 0, []
        self.held = sum(x.nbytes for x in vars(sums).values() if isinstance(x, np.ndarray))
        self.peak = 0

    @property
    def cross(self):
        return self.sums.cross

    def clear(self):
        self.sums.clear()

    def add(self, z, a):
        start = time.perf_counter()
        self.sums.add(z, a)
        self.adding += time.perf_counter() - start

    def packed(self):
        parts = self.sums.packed()
        self.floats = sum(part.size for part in parts)
        return parts

    def unpack(self, packed):
        return self.sums.unpack(packed)

    def factor(self, ridge, start=None):
        tracemalloc.start()
        self._started = time.perf_counter()
        self._factor = self.sums.factor(ridge, start)
        return self

    def solve(self, cross):
        W = self._factor.solve(cross)
        self.solving.append(time.perf_counter() - self._started)
        self.peak = max(self.peak, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        self.steps, self.ridge = getattr(self._factor, "steps", None), self._factor.ridge
        del self._factor
        return W


def measured(run, parts, iterations):
    """Test accuracy after every iteration, and of the wide layer what ``Timed`` says."""
    train, test = parts.train, parts.test
    layers, activation = list(run.network.layers), run.network.activation
    network = Network.build(len(train.a0) - 1, layers, 10, activation, True)
    y, loss = targets(train.labels, 10), losses.load(run.loss)()
    problem = Problem(train.a0, y, network, loss, Serial(), Clock(), run.seed, 0, train.total)
    method = methods.load(run.kind)(run.settings)
    state = method.init(problem)
    timed = state.pairs[WIDE] = Timed(state.pairs[WIDE])
    accuracies, adding, steps = [], [], []
    for _ in range(iterations):
        state = method.step(state)
        adding.append(timed.adding)
        steps.append(timed.steps)
        timed.adding = 0.0
        answers = network.forward(method.weights(state), test.a0).argmax(axis=0)
        accuracies.append(float(np.mean(answers == test.labels)))
    return {
        "accuracies": accuracies,
        "sum": statistics.median(adding),
        "solve": statistics.median(timed.solving),
        "floats": timed.floats,
        "MB": (timed.held + timed.peak) / 2**20,
        "steps": steps,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", help="some of the config's, with commas; all by default")
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--rows", type=int, default=10_000)
    options = parser.parse_args()
    runs = load(CONFIG, [f"data.first={options.rows}"]).runs
    names = options.methods.split(",") if options.methods else list(runs)
    parts = shards.load(shards.plan(runs[names[0]].data, 1), Serial())
    print(f"MNIST, {options.rows:,} rows, a hidden layer of 4,000, {options.iterations} iterations, 1 thread")
    print(
        f"{'method':14} {'p':>5} {'accuracy':>8} {'best':>6} {'W-update s':>10} {'sum':>6} {'solve':>6} "
        f"{'less':>6} {'floats':>10} {'fewer':>6} {'MB':>5}  accuracies; steps of pcg"
    )
    exact = None
    for name in names:
        found = measured(runs[name], parts, options.iterations)
        exact = exact or found
        seconds = found["sum"] + found["solve"]
        settings = runs[name].settings
        p = "" if settings.w_update == "exact" else settings.columns_of(4001)
        print(
            f"{name:14} {p:>5} {found['accuracies'][-1]:8.4f} {max(found['accuracies']):6.4f} {seconds:10.3f} "
            f"{found['sum']:6.2f} {found['solve']:6.2f} {(exact['sum'] + exact['solve']) / seconds:5.1f}x "
            f"{found['floats']:10,} {exact['floats'] / found['floats']:5.1f}x {found['MB']:5.0f}  "
            f"{' '.join(f'{accuracy:.3f}' for accuracy in found['accuracies'])}"
            + (f"; {found['steps']}" if found["steps"][0] is not None else ""),
            flush=True,
        )


if __name__ == "__main__":
    main()
