"""What noise on inputs, smooth targets and dropout take of an iteration, as a ratio to the iteration without.

    python benchmarks/regularisers.py [--rows 9000] [--repeat 8]

On 784-500-600-10 and synthetic rows, interleaved, one BLAS thread; medians of CPU seconds.
"""

import argparse
import os
import statistics
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from admmctl.comm import Serial
from admmctl.methods.method import Problem, Untimed, methods
from admmctl.model.losses import losses
from admmctl.model.network import Network, targets

WARM_UP = 12  # mini-batches
METHODS = {"graph-admm": 3000, "sgd": 128, "adam": 512}  # with the rows of a mini-batch
KEYS = {
    "without": {},
    "input_noise": {"input_noise": 0.2},
    "label_smoothing": {"label_smoothing": 0.1},
    "dropout": {"dropout": 0.5},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=9000)
    parser.add_argument("--repeat", type=int, default=8)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    samples = np.ones((options.rows, 785), np.float32)
    samples[:, :-1] = rng.standard_normal((options.rows, 784), dtype=np.float32)
    network = Network.build(784, [500, 600], 10, "relu", True)
    y, loss = targets(rng.integers(0, 10, options.rows), 10), losses.load("cross-entropy")()
    problem = Problem(samples.T, y, network, loss, Serial(), Untimed(), 0, 0, options.rows)
    print(f"{'method':12} {'rows':>5} {'seconds':>8}   ratio with " + ", ".join([*KEYS][1:]))
    for name, batch in METHODS.items():
        running = {}
        for key, settings in KEYS.items():
            kind = methods.load(name)
            method = kind(kind.Settings(batch=batch, **settings))
            state = method.init(problem)
            for _ in range(WARM_UP):
                state = method.step(state)
            running[key] = [method, state, []]
        for _ in range(options.repeat):
            for entry in running.values():
                start = time.process_time()
                entry[1] = entry[0].step(entry[1])
                entry[2].append(time.process_time() - start)
        seconds = {key: statistics.median(entry[2]) for key, entry in running.items()}
        ratios = ", ".join(f"{taken / seconds['without']:.2f}" for taken in [*seconds.values()][1:])
        print(f"{name:12} {batch:5} {seconds['without']:8.4f}   {ratios}")


if __name__ == "__main__":
    main()
