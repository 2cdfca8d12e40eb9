"""Seconds per ADMM iteration against Algorithm 1 as printed, in one run and interleaved.

    python benchmarks/admm_step.py [--sizes 784,100,50,1] [--rows 10000] [--repeat 5]

One BLAS thread, synthetic rows (the time does not depend on their values), medians.
"""

import argparse
import os
import statistics
import time
from dataclasses import replace

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from admmctl.comm import Serial
from admmctl.methods.method import Problem, Untimed, start
from admmctl.methods.taylor.algorithm import Admm
from admmctl.methods.taylor.printed import PrintedAdmm
from admmctl.methods.taylor.settings import AdmmSettings, PrintedSettings
from admmctl.model.losses import Hinge
from admmctl.model.network import Network
from admmctl.runs.clock import Clock


def build(sizes, rows, seed=0):
    """Both methods with their states, of the same settings and the same synthetic rows; and the clock."""
    rng = np.random.default_rng(seed)
    samples = np.ones((rows, sizes[0] + 1), np.float32)
    samples[:, :-1] = rng.standard_normal((rows, sizes[0]), dtype=np.float32)
    y = np.asfortranarray((samples[:, :1].T > 0).astype(np.float32))
    network = Network.build(sizes[0], sizes[1:-1], sizes[-1], "relu", True)
    clock = Clock()
    problem = Problem(samples.T, y, network, Hinge(), Serial(), clock, seed, 0, rows)
    ours = Admm(AdmmSettings(penalties="fixed", warm_iterations=0))
    keys = ("beta", "gamma", "ridge", "init", "warm_iterations", "multipliers", "multiplier_step")
    printed = PrintedAdmm(PrintedSettings(**{key: getattr(ours.settings, key) for key in keys}))
    return ours, start(ours, problem), printed, start(printed, replace(problem, clock=Untimed())), clock


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="784,100,50,1")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    ours, state, printed, printed_state, clock = build(sizes, options.rows)
    ours.step(state)
    printed.step(printed_state)
    clock.seconds.clear()
    times = {"admmctl": [], "printed": [], "sgemm": []}
    square = np.random.default_rng(0).standard_normal((2048, 2048), dtype=np.float32)
    for _ in range(options.repeat):
        work = {
            "admmctl": lambda: ours.step(state),
            "printed": lambda: printed.step(printed_state),
            "sgemm": lambda: square @ square,
        }
        for name, step in work.items():
            start, cpu = time.perf_counter(), time.process_time()
            step()
            times[name].append((time.perf_counter() - start, time.process_time() - cpu))
    wall = {name: statistics.median(t[0] for t in measured) for name, measured in times.items()}
    cpu = {name: statistics.median(t[1] for t in measured) for name, measured in times.items()}
    peak = 2 * 2048**3 / wall["sgemm"]
    rate = ours.cost(state.problem.network, options.rows, options.rows).flop / wall["admmctl"]
    print(f"{'-'.join(map(str, sizes))}, {options.rows:,} rows, 1 thread, median of {options.repeat}")
    print(f"admmctl   {wall['admmctl']:.4f} s per iteration ({cpu['admmctl']:.4f} s of CPU)")
    print(f"printed   {wall['printed']:.4f} s per iteration ({cpu['printed']:.4f} s of CPU)")
    print(f"ratio     {wall['printed'] / wall['admmctl']:.2f}x")
    print(f"useful    {rate / 1e9:.1f} GFLOP/s, {100 * rate / peak:.0f} % of the matrix peak {peak / 1e9:.1f}")
    phases = {name: seconds / options.repeat for name, seconds in clock.seconds.items()}
    print("phases    " + "  ".join(f"{name} {seconds:.4f}" for name, seconds in phases.items()))


if __name__ == "__main__":
    main()
