"""PyTorch on one thread of the processor beside NumPy: seconds of the same iteration, in pairs, in one run.

    python benchmarks/backends.py [--repeat 15] [--device cpu] [--case graph-admm] [--compile]

Every case is a method at the shape of a dataset, on synthetic rows. Of every pair of iterations, one by each, the
ratio is taken; medians of seconds and of ratios are printed. On the processor seconds are those in which it
worked: other programs do not change them.
"""

import argparse
import os
import statistics
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from admmctl.comm import Serial
from admmctl.methods.method import Problem, methods, start
from admmctl.model.losses import losses
from admmctl.model.network import Network, targets
from admmctl.runs.clock import Clock

MNIST, HIGGS = (784, [500, 600], 10), (28, [300], 1)
# Of every case the method, its settings, the shape, the loss, and rows.
CASES = {
    "graph-admm": (
        "graph-admm",
        {"rho": [0.1, 0.05, 0.025], "beta": [0.1, 0.05], "batch": 3000},
        MNIST,
        "cross-entropy",
        15_000,
    ),
    "graph-matrix": ("graph-admm", {"penalties": "matrix", "batch": 3000}, MNIST, "cross-entropy", 15_000),
    "sgd": ("sgd", {"batch": 512, "momentum": 0.9}, MNIST, "cross-entropy", 15_000),
    "adam": ("adam", {"batch": 512}, MNIST, "cross-entropy", 15_000),
    "foof": ("foof", {"batch": 512}, MNIST, "cross-entropy", 15_000),
    "kfac": ("kfac", {"batch": 512}, MNIST, "cross-entropy", 15_000),
    "muon": ("muon", {"batch": 512}, MNIST, "cross-entropy", 15_000),
    "admm": ("admm", {}, HIGGS, "hinge", 40_000),
}
WARM_UP = 12  # iterations: sums that last are made rarely from then on


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--device", default="cpu", help="of PyTorch")
    parser.add_argument("--case", choices=CASES, action="append", help="all by default")
    parser.add_argument("--compile", action="store_true", help="loops by torch.compile, where a method has some")
    parser.add_argument("--phases", action="store_true", help="print seconds by phase, too")
    options = parser.parse_args()
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    for name in options.case or CASES:
        kind, settings, shape, loss, rows = CASES[name]
        running = {}
        for backend, device in (("numpy", "cpu"), ("torch", options.device)):
            own = {**settings, "backend": backend, "device": device}
            if options.compile and backend == "torch" and "compile" in methods.load(kind).Settings.model_fields:
                own["compile"] = True
            method = methods.load(kind)(methods.load(kind).Settings(**own))
            state = start(method, problem(shape, loss, rows))
            for _ in range(WARM_UP):
                state = method.step(state)
            running[backend] = [method, state, []]
            timer = state.problem.clock
            getattr(timer, "seconds", {}).clear()
        for _ in range(options.repeat):
            for entry in running.values():
                begun = clock()
                entry[1] = entry[0].step(entry[1])
                entry[2].append(clock() - begun)
        ours, others = (entry[2] for entry in running.values())
        ratio = statistics.median(other / own for own, other in zip(ours, others, strict=True))
        print(
            f"{name:13} numpy {1e3 * statistics.median(ours):8.1f} ms  "
            f"torch on {options.device} {1e3 * statistics.median(others):8.1f} ms  ratio {ratio:.2f}",
            flush=True,
        )
        for backend, (_, state, _) in running.items() if options.phases else ():
            seconds = getattr(state.problem.clock, "seconds", {})
            print(backend, {phase: round(1e3 * s / options.repeat, 1) for phase, s in seconds.items()})


def problem(shape, loss, rows):
    """Normal inputs, and random labels."""
    features, layers, outputs = shape
    rng = np.random.default_rng(0)
    samples = np.ones((rows, features + 1), np.float32)
    samples[:, :-1] = rng.standard_normal((rows, features), dtype=np.float32)
    y = targets(rng.integers(0, max(2, outputs), rows), outputs)
    network = Network.build(features, layers, outputs, "relu", True)
    return Problem(samples.T, y, network, losses.load(loss)(), Serial(), Clock(), 0, 0, rows)


if __name__ == "__main__":
    main()
