"""The W-update of a wide layer, exact and low-rank over p: accuracy, seconds, numbers sent, memory.

    admmctl fetch mnist cifar10
    python benchmarks/low_rank.py [--layer 1] [--methods exact,nystrom-pcg,nystrom] [--iterations 8] [--rows 10000]

Layer 2 is a hidden layer of 4,000 on MNIST (configs/mnist-wide.yaml), layer 1 the 3,072 pixels of CIFAR-10, two
classes (configs/cifar2-wide.yaml), whose a_0 a_0' is summed and factored once. The ADMM blocks of the file one
after another, one rank, one BLAS thread; on a shared machine compare columns of one run alone. Of that layer:
``first`` are the seconds of the first W-update, its sums over the rows (z a', and a a' or columns of it) and its
solve, ``later`` the median of the others, ``all`` their sum. ``floats`` are the numbers of a a' that are sent.
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
from admmctl.methods.method import Diverged, Problem, methods
from admmctl.methods.taylor import layers
from admmctl.model.losses import losses
from admmctl.model.network import predicted, targets
from admmctl.runs.build import shape_network
from admmctl.runs.clock import Clock

CONFIGS = Path(__file__).parents[1] / "configs"
WIDE = {
    1: ("cifar2-wide", "CIFAR-10, airplanes against automobiles, 3,072 inputs"),
    2: ("mnist-wide", "MNIST, a hidden layer of 4,000"),
}


class Watched:
    """What the sums of a layer take: ``pair`` is made to tell it."""

    def __init__(self, pair):
        self.updates, self.steps, self.peak = [], [], 0
        self.floats = sum(part.size for part in pair.packed())
        arrays = [x for x in vars(pair).values() if isinstance(x, np.ndarray)]
        self.held = sum(x.nbytes for x in [*arrays, *(product for *_, product in getattr(pair, "_tiles", []))])
        self._adding, self._add, self._factor = 0.0, pair.add, pair.factor
        pair.add, pair.factor = self.add, self.factor

    def add(self, z, a):
        start = time.perf_counter()
        self._add(z, a)
        self._adding += time.perf_counter() - start

    def factor(self, ridge):
        tracemalloc.start()
        self._started = time.perf_counter()
        self._made = self._factor(ridge)
        return self

    @property
    def ridge(self):
        return self._made.ridge

    def solve(self, cross, start=None):
        W = self._made.solve(cross, start)
        self.updates.append(self._adding + time.perf_counter() - self._started)
        self.peak = max(self.peak, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        self.steps.append(getattr(self._made, "steps", None))
        self._adding = 0.0
        return W


def measured(run, parts, layer, iterations):
    """Test accuracy after every iteration, until it diverges; what ``Watched`` says of the layer; p."""
    train, test = parts.train, parts.test
    classes = int(train.labels.max()) + 1
    network, loss = shape_network(run, len(train.a0) - 1, classes), losses.load(run.loss)()
    y = targets(train.labels, network.sizes[-1])
    problem = Problem(train.a0, y, network, loss, Serial(), Clock(), run.seed, 0, train.total)
    method, made, watched = methods.load(run.kind)(run.settings), layers.sums, {}

    def sums(settings, p, l):
        pair = made(settings, p, l)
        if l == layer:
            watched[l] = Watched(pair)
        return pair

    layers.sums = sums
    try:
        state = method.init(problem)
    finally:
        layers.sums = made
    accuracies = []
    for _ in range(iterations):
        try:
            state = method.step(state)
        except Diverged:
            break
        answers = predicted(network, method.weights(state), loss.threshold, test.a0)
        accuracies.append(float(np.mean(answers == test.labels)))
    return accuracies, watched[layer], run.settings.columns_of(network.shapes[layer - 1][1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layer", type=int, choices=WIDE, default=2, help="which layer is the wide one")
    parser.add_argument("--methods", help="some of the config's, with commas; all of ADMM by default")
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--rows", type=int, default=10_000)
    options = parser.parse_args()
    config, what = WIDE[options.layer]
    runs = load(CONFIGS / f"{config}.yaml", [f"data.first={options.rows}"]).runs
    admm = [name for name, run in runs.items() if run.kind == "admm"]
    names = options.methods.split(",") if options.methods else admm
    parts = shards.load(shards.plan(runs[names[0]].data, 1), Serial())
    print(f"{what}, {parts.train.total:,} rows, {options.iterations} iterations, 1 thread")
    print(
        f"{'method':16} {'p':>5} {'accuracy':>8} {'best':>6} {'first':>7} {'less':>6} {'later':>7} {'less':>6} "
        f"{'all':>7} {'less':>6} {'floats':>10} {'fewer':>6} {'MB':>5} {'less':>6}  accuracies; steps of pcg"
    )
    exact = None
    for name in names:
        accuracies, found, p = measured(runs[name], parts, options.layer, options.iterations)
        megabytes = (found.held + found.peak) / 2**20
        first, later, whole = found.updates[0], statistics.median(found.updates[1:]), sum(found.updates)
        exact = exact or (first, later, whole, found.floats, megabytes)
        less = [of / mine for of, mine in zip(exact, (first, later, whole, found.floats, megabytes), strict=True)]
        print(
            f"{name:16} {'' if runs[name].settings.w_update == 'exact' else p:>5} {accuracies[-1]:8.4f} "
            f"{max(accuracies):6.4f} {first:7.2f} {less[0]:5.1f}x {later:7.3f} {less[1]:5.1f}x {whole:7.2f} "
            f"{less[2]:5.1f}x {found.floats:10,} {less[3]:5.1f}x {megabytes:5.0f} {less[4]:5.1f}x  "
            f"{' '.join(f'{accuracy:.3f}' for accuracy in accuracies)}"
            + (f"; {found.steps}" if found.steps[0] is not None else ""),
            flush=True,
        )


if __name__ == "__main__":
    main()
