"""Seconds per iteration and memory of ``convex-admm`` on a feature file of ImageNet's size that stays on disk.

    python benchmarks/convex_streamed.py [--share 0.02] [--iterations 2] [--patterns 50] [--folder DIR] [SOLVER...]

1,281,167 rows x 2,048 features, or a share of the rows, are made up and written to a folder that is removed at the
end (10.5 GB at full size); two classes. Each solver trains in its own process, with one BLAS thread. Seconds are
of the clock and of the processor, set-up apart; peak and announced memory are those of its record.
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
GB = 1.048576e-3  # in MiB
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


def trained(folder: Path, solver: str, options: argparse.Namespace) -> list[float]:
    """Seconds of set-up and of an iteration, the same of the processor, and GB that were taken and announced."""
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
    seconds = []
    for name in ("phases.csv", "cpu.csv"):
        with (record / name).open() as file:
            phases = {row["phase"]: float(row["max_s"]) for row in csv.DictReader(file)}
        step = sum(phases.get(name, 0.0) for name in ("u", "v", "dual", "check"))
        seconds += [phases["precompute"], step / run["iterations"]]
    announced = json.loads((record / "environment.json").read_text())["memory_estimate_mb"]
    return [*seconds, run["peak_rss_mb"] * GB, announced * GB]


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
        print("solver       set-up s  s/iteration  CPU s: set-up  iteration  peak GB  announced")
        for solver in options.solvers:
            set_up, each, set_up_cpu, each_cpu, peak, announced = trained(folder, solver, options)
            print(
                f"{solver:12} {set_up:8.1f} {each:12.2f} {set_up_cpu:14.1f} {each_cpu:10.2f} {peak:8.2f} "
                f"{announced:10.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
