"""The z-update of tanh, sigmoid and cosine, from a table of solutions, against that of ReLU: time per element.

    python benchmarks/lookup.py [--units 100] [--samples 60000] [--iterations 10] [--repeat 9]

Every activation trains on a Swiss roll by ADMM first, so that z, a and W a are those of training; then their
updates of z_1 are timed in turn, over all samples, a block of columns at a time. One thread; medians.
"""

import argparse
import os
import statistics
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from admmctl.comm import Serial
from admmctl.methods.method import Problem, Untimed
from admmctl.methods.taylor.algorithm import Admm
from admmctl.methods.taylor.settings import AdmmSettings
from admmctl.model.losses import Squared
from admmctl.model.network import Network


class Trained:
    """z_1, a_1 and W_1 a_0 of a network of two hidden layers after some iterations."""

    def __init__(self, activation, units, samples, iterations):
        rng = np.random.default_rng(0)
        a0 = np.ones((4, samples), np.float32, order="F")
        a0[:3] = rng.standard_normal((3, samples))
        y = np.asfortranarray((a0[:1] * a0[1:2] > 0).astype(np.float32))
        network = Network.build(3, [units, 50], 1, activation, True)
        self.admm = Admm(AdmmSettings(ridge=1e-3))
        self.s = s = self.admm.init(Problem(a0, y, network, Squared(), Serial(), Untimed(), 0, 0, samples))
        for _ in range(iterations):
            s = self.admm.step(s)
        self.blocks = list(s.blocks())
        self.h = network.h(1)
        self.z, self.m = s.z[1], np.asfortranarray(s.W[1] @ a0)
        self.a = np.hstack([s.a[1].block(columns, self.z[:, columns], s.V[1]).copy() for columns in self.blocks])
        self.a = np.asfortranarray(self.a)

    def seconds(self):
        z = self.z.copy(order="F")
        started = time.perf_counter()
        for columns in self.blocks:
            self.h.z_update(z[:, columns], self.a[:, columns], self.m[:, columns], 10.0, 1.0)
        return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=9)
    options = parser.parse_args()
    names = ("relu", "hard-sigmoid", "tanh", "sigmoid", "cosine")
    trained = {name: Trained(name, options.units, options.samples, options.iterations) for name in names}
    times = {name: [] for name in names}
    for each in trained.values():
        each.seconds()
    for _ in range(options.repeat):
        for name, each in trained.items():
            times[name].append(each.seconds())
    relu = statistics.median(times["relu"])
    print(f"{'activation':14}{'ns per element':>16}{'of relu':>10}  table")
    for name, each in trained.items():
        median = statistics.median(times[name])
        table = each.admm.settings.tables(each.s.problem.network).get(1, "")
        nanoseconds = 1e9 * median / (options.units * options.samples)
        print(f"{name:14}{nanoseconds:16.2f}{median / relu:9.2f}x  {table}")


if __name__ == "__main__":
    main()
