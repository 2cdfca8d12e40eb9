"""What a GPU does with our methods; see ``device.sh``. Parts that do not fit into the time are named as left out.

Rows are made up, of the shapes of the datasets that they are named after, but for those of ``mnist``, which are
read where the dataset has been fetched.
"""

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from backends import CASES, HIGGS, MNIST, problem

from admmctl.comm import Serial
from admmctl.data import shards
from admmctl.devices.settings import device_name
from admmctl.devices.speed import Product
from admmctl.errors import AdmmctlError
from admmctl.experiment.config import load
from admmctl.methods.method import Problem, methods, start
from admmctl.model.losses import losses
from admmctl.model.network import score, targets
from admmctl.runs.build import build
from admmctl.runs.clock import Clock

CONFIGS = Path(__file__).parents[1] / "configs"
SECONDS = 280  # of all parts together
SVHN_HOG, CIFAR2 = (648, [100, 50], 1), (3072, [100], 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path, default=Path("device.json"))
    options = parser.parse_args()
    device, until = options.device, time.perf_counter() + SECONDS
    try:
        product = Product(device)
    except AdmmctlError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    settings = methods.load("sgd").Settings(backend="torch", device=device)
    found = {
        "device": device_name(settings),
        "torch": product.torch_version,
        "host": platform.node(),
        "sgemm_gflops": product.median_gflops(),
        "tf32_gflops": None if device == "cpu" else Product(device, "tf32").median_gflops(),
    }
    if device != "cpu":
        product = Product(device)  # products are in float32 again
    small = device == "cpu"
    parts = {
        "curves": lambda: curves(device),
        "fractions": lambda: fractions(device, product, small),
        "mnist": lambda: to_98_percent(device, small),
        "svhn_hog": lambda: to_95_percent(device, 2_000 if small else 100_000),
        "convex": lambda: convex(device, small),
        "higgs": lambda: higgs(device, 20_000 if small else 10_500_000),
    }
    for name, part in parts.items():
        if time.perf_counter() > until - 20:
            found[name] = "left out: no time"
            continue
        begun = time.perf_counter()
        try:
            found[name] = part()
        except Exception as error:  # the other parts are worth having
            found[name] = f"failed: {type(error).__name__}: {error}"
        print(f"{name}: {time.perf_counter() - begun:.1f} s", flush=True)
        options.output.write_text(json.dumps(found, indent=1))
    print(options.output)


def method_of(kind, settings, device):
    """The method on the device, or with ``device`` None by NumPy."""
    own = settings if device is None else {**settings, "backend": "torch", "device": device}
    return methods.load(kind)(methods.load(kind).Settings(**own))


def curves(device):
    """The largest difference of weights from NumPy's after five iterations of a method, beside their largest."""
    found = {}
    for name, (kind, settings, _, loss, _) in CASES.items():
        own = {**settings, "batch": 500} if "batch" in settings else settings
        ends = []
        for where in (None, device):
            method = method_of(kind, own, where)
            state = start(method, problem((20, [30, 20], 1), loss, 2000))
            for _ in range(5):
                state = method.step(state)
            ends.append(np.concatenate([W.ravel() for W in method.weights(state)]))
        found[name] = float(np.abs(ends[0] - ends[1]).max() / np.abs(ends[0]).max())
    return found


def fractions(device, product, small):
    """Seconds of an iteration on 3,000 rows of MNIST's shape, and its part of the card's product."""
    found = {}
    for kind in ("graph-admm", "graph-admm compiled", "sgd", "adam", "foof", "kfac", "muon"):
        name, _, compiled = kind.partition(" ")
        method = method_of(name, {"batch": 3000} | ({"compile": True} if compiled else {}), device)
        p = problem(MNIST, "cross-entropy", 6_000 if small else 60_000)
        state = start(method, p)
        for _ in range(12):
            state = method.step(state)
        p.clock.seconds.clear()
        number = 3 if small else 100
        begun = time.perf_counter()
        for _ in range(number):
            state = method.step(state)
        seconds = (time.perf_counter() - begun) / number
        flop = method.cost(p.network, p.total, p.total).flop
        phases = {phase: value / number for phase, value in p.clock.seconds.items()}
        fraction = flop / seconds / 1e9 / product.median_gflops(3)
        found[kind] = {"seconds": seconds, "fraction": fraction, "phases": phases}
    return found


def to_98_percent(device, small):
    """Seconds of training to 98 % on MNIST's test rows, each as in configs/mnist-graph.yaml."""
    found = {}
    for name in ("graph-admm", "sgd", "adam"):
        run = load(CONFIGS / "mnist-graph.yaml").runs[name]
        changed = run.settings.model_copy(update={"backend": "torch", "device": device})
        built = build(replace(run, settings=changed), 1)
        parts = shards.load(built.plan, Serial())
        train, test = parts.train, parts.test
        y, y_test = (targets(part.labels, 10) for part in (train, test))
        p = Problem(train.a0, y, built.network, losses.load(run.loss)(), Serial(), Clock(), 0, 0, train.total)
        method = methods.load(run.kind)(changed)
        state, accuracy, epochs = start(method, p), 0.0, 0
        most, rows = (1, 3_000) if small else (15, train.total)
        while accuracy < 0.98 and epochs < most:
            epochs += 1
            while (method.rows_seen(state) or 0) < epochs * rows:
                with p.clock.phase("other"):
                    state = method.step(state)
            right = score(p.network, method.weights(state), p.loss, test.a0, y_test, test.labels)[1]
            accuracy = float(right) / len(test.labels)
        found[name] = {"seconds": p.clock.train, "epochs": epochs, "test_accuracy": accuracy}
    return found


def separable(shape, loss, rows):
    """A problem whose labels a linear rule of a few inputs makes, but for some noise."""
    p = problem(shape, loss, rows)
    rule = p.a0[:20].sum(axis=0) + 0.3 * np.random.default_rng(1).standard_normal(rows)
    labels = (rule > 0).astype(np.int64)
    return replace(p, y=targets(labels, 1)), labels


def to_95_percent(device, rows):
    """Seconds of training of ``admm`` to 95 % of the training rows, of the shape of SVHN's HOG features."""
    p, labels = separable(SVHN_HOG, "hinge", rows)
    method = method_of("admm", {}, device)
    state, accuracy, iterations = start(method, p), 0.0, 0
    while accuracy < 0.95 and iterations < 60:
        with p.clock.phase("other"):
            state = method.step(state)
        iterations += 1
        accuracy = float(score(p.network, method.weights(state), p.loss, p.a0, p.y, labels)[1]) / rows
    return {"seconds": p.clock.train, "iterations": iterations, "train_accuracy": accuracy, "rows": rows}


def convex(device, small):
    """Table 1 of the convex paper: seconds to 97 % of n rows with d = 3,072 inputs, P = 50 patterns, by solver."""
    found, rows = {}, 500 if small else 10_000
    for solver in ("nystrom-pcg", "block-pcg", "rbcd"):
        p, _ = separable(CIFAR2, "signed-squared", rows)
        method = method_of("convex-admm", {"solver": solver, "patterns": 50}, device)
        network = replace(p.network, sizes=(3072, 100, 1), bias=False)
        p = replace(p, network=network)
        state, accuracy, iterations = start(method, p), 0.0, 0
        while accuracy < 0.97 and iterations < (3 if small else 60):
            with p.clock.phase("other"):
                state = method.step(state)
            iterations += 1
            accuracy = method.residuals(state)["primal_accuracy"]
        seconds = p.clock.train
        found[solver] = {"seconds": seconds, "iterations": iterations, "train_accuracy": accuracy, "rows": rows}
    return found


def higgs(device, rows):
    """Seconds of an iteration of ``admm`` on all rows of HIGGS's shape."""
    p = problem(HIGGS, "hinge", rows)
    method = method_of("admm", {"penalties": "fixed"}, device)
    state = start(method, p)
    state = method.step(state)
    begun, number = time.perf_counter(), 3
    for _ in range(number):
        state = method.step(state)
    return {"rows": rows, "seconds": (time.perf_counter() - begun) / number}


if __name__ == "__main__":
    main()
