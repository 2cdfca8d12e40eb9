"""Zhang and Kleijn's Table 3: seconds per mini-batch, mean and standard deviation, all methods in one run.

    python benchmarks/minibatch.py [--rows 15000] [--repeat 24]

The methods of configs/mnist-graph.yaml at its shapes, 784-500-600-10 with mini-batches of 3,000, on synthetic
rows, interleaved, one BLAS thread. The paper's numbers are theirs, from an Apple MacBook Pro of 2017.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from admmctl.comm import Serial
from admmctl.experiment.config import load
from admmctl.methods.method import Problem, methods
from admmctl.model.losses import losses
from admmctl.model.network import Network, targets
from admmctl.papers.zhang import TABLE_3
from admmctl.runs.clock import Clock

CONFIG = Path(__file__).parents[1] / "configs" / "mnist-graph.yaml"
PAPER = {method: (mean, spread) for method, _, mean, spread in TABLE_3}
OURS = ("graph-admm", "graph-dcutlu")  # our variant
BASE = "sgd-printed"
WARM_UP = 40  # mini-batches: from then on graph-admm sums V V' as rarely as it does in a run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=15_000)
    parser.add_argument("--repeat", type=int, default=24)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    samples = np.ones((options.rows, 785), np.float32)
    samples[:, :-1] = rng.standard_normal((options.rows, 784), dtype=np.float32)
    y = targets(rng.integers(0, 10, options.rows), 10)
    running = {}
    for name in (*PAPER, *OURS):
        run = load(CONFIG).runs[name]
        network = Network.build(784, list(run.network.layers), 10, run.network.activation, True)
        loss = losses.load(run.loss)()
        problem = Problem(samples.T, y, network, loss, Serial(), Clock(), 0, 0, options.rows)
        method = methods.load(run.kind)(run.settings)
        state = method.init(problem)
        for _ in range(WARM_UP):
            state = method.step(state)
        running[name] = [method, state, []]
    for _ in range(options.repeat):
        for entry in running.values():
            start = time.perf_counter()
            entry[1] = entry[0].step(entry[1])
            entry[2].append(time.perf_counter() - start)
    seconds = {name: entry[2] for name, entry in running.items()}
    base = statistics.mean(seconds[BASE])  # of means: not all mini-batches of graph-admm are alike
    print(f"seconds per mini-batch of 3,000, 784-500-600-10, 1 thread, {options.repeat} each, interleaved")
    print(f"{'method':20} {'mean':>8} {'std':>8} {'median':>8} {'x sgd':>6}    paper's mean, std, x sgd (theirs)")
    for name, times in seconds.items():
        mean, std = PAPER.get(name, (None, None))
        theirs = "-" if mean is None else f"{mean:.4f}, {std:.4f}, {mean / PAPER[BASE][0]:.2f}"
        print(
            f"{name:20} {statistics.mean(times):8.4f} {statistics.stdev(times):8.4f} "
            f"{statistics.median(times):8.4f} {statistics.mean(times) / base:6.2f}    {theirs}"
        )


if __name__ == "__main__":
    main()
