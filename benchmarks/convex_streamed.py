"""Seconds per iteration and memory of ``convex-admm`` on a feature file of ImageNet's size that stays on disk.

    python benchmarks/convex_streamed.py [--share 0.02] [--iterations 2] [--patterns 50] [--folder DIR] [SOLVER...]

1,281,167 rows x 2,048 features, or a share of the rows, are made up and written to a folder that is removed at the
end (10.5 GB at full size); two classes. Each solver trains in a process of its own, one BLAS thread. Seconds are
those of training on the clock of the run, set-up apart; peak and announced memory are those of its record.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROWS, FEATURES, CHUNK = 1_281_167, 2048, 8192
SOLVERS = ["block-pcg", "nystrom-pcg", "rbcd"]


def write(folder: Path, rows: int) -> None:
    """x.npy and y.npy: features that a ReLU leaves, with a few strong directions; classes of a small network."""
    rng = np.random.default_rng(0)
    strong = rng.standard_normal((40, FEATURES), dtype=np.float32)
    v, w = rng.standard_normal((FEATURES, 8), dtype=np.float32), rng.standard_normal(8, dtype=np.float32)
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows, FEATURES))
    y = np.empty(rows, np.int64)
    for low in range(0, rows, CHUNK):
        part = x[low : low + CHUNK]
        part[...] = rng.standard_normal((len(part), 40), dtype=np.float32) @ strong / 6
        part += rng.standard_normal(part.shape, dtype=np.float32)
        np.maximum(part, 0, out=part)
        y[low : low + len(part)] = np.maximum((part - 0.5) @ v, 0) @ w > 0
    x.flush()
    np.save(folder / "y.npy", y)


def trained(folder: Path, solver: str, options: argparse.Namespace) -> tuple[float, float, float, float]:
    """Seconds of set-up and of an iteration, and GB that were taken and that were announced."""
    experiment = {
        "name": "streamed",
        "data": {
            "name": "files",
            "x": str(folder / "x.npy"),
            "y": str(folder / "y.npy"),
            "train": len(np.load(folder / "y.npy")) * 99 // 100,  # in the order of the file
            "stream": True,
        },
        "network": {"layers": [2 * options.patterns]},
        "loss": "signed-squared",
        "methods": {solver: {"kind": "convex-admm", "solver": solver, "patterns": options.patterns}},
        "stop": {"iterations": options.iterations},
        "evaluate": {"every": options.iterations},
    }
    config = folder / "streamed.yaml"
    config.write_text(json.dumps(experiment))  # which is YAML
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-m", "admmctl", "train", str(config), "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **one, "ADMMCTL_RESULTS": str(folder / "results")},
    )
    (run,) = json.loads(done.stdout)["runs"]
    record = Path(run["folder"])
    with (record / "phases.csv").open() as file:
        phases = {row["phase"]: float(row["max_s"]) for row in csv.DictReader(file)}
    announced = json.loads((record / "environment.json").read_text())["memory_estimate_mb"]
    set_up = phases["precompute"]
    each = (run["train_s"] - set_up) / run["iterations"]
    return set_up, each, run["peak_rss_mb"] * 1.048576e-3, announced * 1.048576e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("solvers", nargs="*", default=SOLVERS, metavar="SOLVER")
    parser.add_argument("--share", type=float, default=0.02, help="of the rows")
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--patterns", type=int, default=50)
    parser.add_argument("--folder", help="where the file is written to, for a while")
    options = parser.parse_args()
    rows = round(options.share * ROWS)
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place)
        write(folder, rows)
        size = (folder / "x.npy").stat().st_size / 1e9
        print(f"{rows:,} rows x {FEATURES:,} features, {size:.2f} GB; {options.patterns} patterns")
        print(f"{'solver':12} {'set-up s':>9} {'s/iteration':>12} {'peak GB':>8} {'announced':>10}")
        for solver in options.solvers:
            set_up, each, peak, announced = trained(folder, solver, options)
            print(f"{solver:12} {set_up:9.1f} {each:12.2f} {peak:8.2f} {announced:10.2f}", flush=True)


if __name__ == "__main__":
    main()
