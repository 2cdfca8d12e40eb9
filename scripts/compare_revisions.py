"""Run the same small experiments on two revisions of the project; compare all that they record but seconds.

For whoever moves code: ``.venv/bin/python scripts/compare_revisions.py OLD NEW`` says where the two differ, bit
for bit, and ends with exit code 1 if they do. Every method and W-update runs on 1 and 2 ranks, with an interrupted
run that goes on (also one that the old revision began and the new one ends), a sweep, a scaling study, figures and
a report. Both revisions are checked out in a temporary folder, and nothing of it is kept.
"""

import argparse
import csv
import html
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent
LOW_RANK = {"min_width": 5, "rank": 4, "network": {"layers": [20, 18]}}
SIGNED = {"loss": "signed-squared", "network": {"layers": [8], "bias": False}}
DENSE: dict[str, dict[str, Any]] = {
    "admm": {},
    "admm-printed": {"kind": "admm", "preset": "paper"},
    "admm-warm": {"kind": "admm", "warm_iterations": 2, "loss": "hinge", "multipliers": "bregman"},
    "admm-backward": {"kind": "admm", "sweep": "backward_first", "init": "gaussian"},
    "admm-tanh": {"kind": "admm", "network": {"layers": [6], "activation": "tanh"}},
    "admm-nystrom": {"kind": "admm", "w_update": "nystrom", **LOW_RANK},
    "admm-leverage": {"kind": "admm", "w_update": "nystrom", "columns": "leverage", **LOW_RANK},
    "admm-pcg": {"kind": "admm", "w_update": "nystrom-pcg", **LOW_RANK},
    "stochastic-admm": {"subset": 0.5, "warm_iterations": 2},
    "classical-admm": {"warm_iterations": 2},
    "graph-admm": {"loss": "cross-entropy", "network": {"layers": [8, 7], "outputs": 2}},
    "graph-anderson": {"kind": "graph-admm", "anderson": 3},
    "graph-batches": {"kind": "graph-admm", "batch": 50, "gram_every": 3, "average": 0.9},
    "graph-paper": {"kind": "graph-admm", "preset": "paper", "batch": 100},
    "sgd": {"batch": 50, "momentum": 0.9, "nesterov": True},
    "adam": {"batch": 50, "loss": "cross-entropy"},
    "gd": {},
    "cg": {},
    "lbfgs": {},
    "linear": {"loss": "cross-entropy", "network": {"layers": []}},
    "random-features": {
        "network": {"layers": [30], "activation": "cosine", "init": "gaussian", "init_scale": 2.0}
    },
    **{
        f"convex-{solver}": {"kind": "convex-admm", "solver": solver, "patterns": 4, **SIGNED}
        for solver in ("exact", "cholesky", "block-pcg", "nystrom-pcg", "jacobi-pcg", "convex-cg", "rbcd", "auto")
    },
}
CONVOLUTION = {"filters": [2, 3], "size": 3, "pool": 2, "image": [1, 4, 4]}
ONE_RANK = ("convex-exact", "convex-cholesky")
BREAKS = ("admm", "graph-batches", "cg", "adam")  # methods that are interrupted and go on
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "dense": {"methods": DENSE},
    "three": {"methods": {name: DENSE[name] for name in ("admm", "graph-batches", "sgd", "lbfgs")}},
    "pictures": {
        "network": {"layers": [6], "convolution": CONVOLUTION},
        "methods": {"admm": {}, "sgd": {"batch": 50}, "lbfgs": {}},
    },
    "held-back": {
        "data": {"validation": 0.2},
        "methods": {"sgd": {"batch": 50}, "admm": {}},
        "sweep": {"trials": 3, "space": {"sgd": {"learning_rate": {"low": 0.01, "high": 1.0}}}},
    },
    "broken-off": {  # long enough to be interrupted
        "data": {"x": "large.npy", "y": "large-labels.npy"},
        "stop": {"iterations": 800},
        "evaluate": {"every": 1, "unit": "iteration"},
        "checkpoint": {"every": 40, "unit": "iteration"},
        "methods": {name: DENSE[name] for name in BREAKS},
    },
}
# Words of names whose numbers are seconds, memory, or of the machine at that moment.
MEASURED = re.compile(r"(^|_)(s|ms|seconds|wall|mb|gflops?|cpu|time|peak|load|fraction|spread)($|_)|seconds|_s\b")
# What a record says of the program, the moment and the machine's speed, not of the result.
MOMENT = {"git_commit", "git_dirty", "version", "packages", "host", "hosts", "machine", "small"}
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="a revision, for instance HEAD~3")
    parser.add_argument("new", nargs="?", default="", help="a revision; the working tree as it is by default")
    parser.add_argument("--keep", type=Path, help="work in this new folder, and leave it there to look at")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = given.keep or Path(temporary)
        base.mkdir(exist_ok=True)
        sides = [Side(base, "old", given.old), Side(base, "new", given.new)]
        try:
            # Side by side: what is compared does not depend on how long it takes.
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(Side.run, sides))
            sides[1].carry_on(sides[0])
            differences = list(compare(sides[0].place, sides[1].place))
        finally:
            for side in sides:
                side.remove()
    print("\n".join(differences) or "no difference")
    return bool(differences)


def git(*arguments: str) -> None:
    subprocess.run(["git", "-C", ROOT, *arguments], check=True)


class Side:
    """One revision of the project, checked out, and the folder in which it runs."""

    def __init__(self, base: Path, name: str, revision: str) -> None:
        self.name, self.place = name, base / name
        self.place.mkdir()
        self.tree = ROOT
        if revision:
            self.tree = base / f"tree-{name}"
            subprocess.run(
                ["git", "-C", ROOT, "worktree", "add", "-q", "--detach", self.tree, revision], check=True
            )
        keep = {key: value for key, value in os.environ.items() if not key.startswith("ADMMCTL_")}
        self.environment = {**keep, "PYTHONPATH": str(self.tree), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        found = self.python("-P", "-c", "import admmctl; print(admmctl.__file__)").strip()
        if Path(found).parent != self.tree / "admmctl":
            raise SystemExit(f"{self.name}: ran {found}, not the code in {self.tree}")

    def remove(self) -> None:
        if self.tree != ROOT:
            git("worktree", "remove", "--force", str(self.tree))

    def python(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.place, env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def admmctl(self, *arguments: str, said: str = "") -> None:
        """Run a command; keep its standard output in the file ``said``, to be compared."""
        print(f"{self.name}: admmctl {' '.join(arguments)}", flush=True)
        out = self.python("-P", "-m", "admmctl", *arguments)
        if said:
            (self.place / said).write_text(out)

    def run(self) -> None:
        """All experiments."""
        write_experiments(self.place)
        for name, experiment in EXPERIMENTS.items():
            if name != "broken-off":
                self.admmctl("train", f"{name}.yaml", "--method", "all")
                several = [method for method in experiment["methods"] if method not in ONE_RANK]
                for method in several:
                    self.admmctl("train", f"{name}.yaml", "--method", method, "--cores", "2", "--oversubscribe")
        for method, ranks in zip(BREAKS, (1, 2, 1, 2), strict=True):
            self.break_off(method, ranks)
        self.copy_unfinished()
        for method, ranks in zip(BREAKS, (1, 2, 1, 2), strict=True):
            self.resume(method, ranks)
        self.admmctl("sweep", "held-back.yaml", "--method", "sgd")
        self.admmctl(
            "scaling", "dense.yaml", "--cores", "1,2", "--repeat", "2", "--iterations", "3", "--oversubscribe"
        )
        self.admmctl("scaling-plot", "results/dense")
        self.admmctl("accuracy-plot", "results/dense")
        self.admmctl("figures", "activations", "boundary", "trident-6-left")
        self.admmctl("runs", "export", "--format", "csv", "--output", "all.csv")
        self.admmctl("runs", "compare", "results/dense", "--json", said="compare.json")
        self.admmctl("runs", "list", "--json", said="list.json")
        self.admmctl("report", "--open", "no")
        for run in sorted(Path(self.place, "results", "dense").glob("*-p1-*")):
            self.admmctl(
                "predict", f"results/dense/{run.name}", "--input", "x.npy", said=f"{run.name}.predicted.csv"
            )

    def predict(self, place: Path) -> None:
        """Classify rows with the weights of the runs in ``place``."""
        for run in sorted(place.glob("results/dense/*-p1-*")):
            self.admmctl("predict", str(run), "--input", "x.npy", said=f"{run.name}.predicted.csv")

    def break_off(self, method: str, ranks: int) -> None:
        """Begin a run and interrupt it after a few iterations."""
        print(f"{self.name}: {method} on {ranks} ranks, interrupted", flush=True)
        before = set(Path(self.place).glob("results/broken-off/*"))
        command = ["-P", "-m", "admmctl", "train", "broken-off.yaml", "--method", method, "--cores", str(ranks)]
        process = subprocess.Popen(
            [sys.executable, *command, "--oversubscribe"],
            cwd=self.place,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while process.poll() is None:
            time.sleep(0.05)
            for folder in set(Path(self.place).glob("results/broken-off/*")) - before:
                curve = folder / "curve.csv"
                if curve.is_file() and curve.read_text().count("\n") > 5:
                    process.send_signal(signal.SIGINT)
                    process.wait()
        if process.returncode != 3:
            said = process.stderr.read() if process.stderr else ""
            raise SystemExit(f"{self.name}: {method} was not interrupted ({process.returncode}):\n{said}")

    def copy_unfinished(self) -> None:
        subprocess.run(["cp", "-a", self.place / "results/broken-off", self.place / "unfinished"], check=True)

    def resume(self, method: str, ranks: int, *more: str) -> None:
        """End the run that was broken off."""
        words = ["--method", method, "--cores", str(ranks), "--oversubscribe", "--resume", *more]
        self.admmctl("train", "broken-off.yaml", *words)

    def carry_on(self, other: "Side") -> None:
        """End here what the other revision broke off, and predict from its weights."""
        results = self.place / "results/broken-off"
        results.rename(self.place / "own")
        subprocess.run(["cp", "-a", other.place / "unfinished", results], check=True)
        for method, ranks in zip(BREAKS, (1, 2, 1, 2), strict=True):
            self.resume(method, ranks)
        self.predict(other.place)
        results.rename(self.place / "carried")
        (self.place / "own").rename(results)
        differences = list(compare_folders(other.place / "results/broken-off", self.place / "carried"))
        if differences:
            raise SystemExit("a run of the old revision ends otherwise on the new one:\n" + "\n".join(differences))
        subprocess.run(["rm", "-r", self.place / "carried"], check=True)


def write_experiments(place: Path) -> None:
    """Experiment files and their rows: two classes and three, as images of 4 x 4."""
    rng = np.random.default_rng(3)
    for name, rows, classes in (("", 301, 2), ("three-", 301, 3), ("large-", 6001, 2)):
        labels = rng.integers(0, classes, rows)
        x = rng.normal(size=(rows, 16)) + 0.8 * rng.normal(size=(classes, 16))[labels]
        np.save(place / f"{name}x.npy", x.astype(np.float32))
        np.save(place / f"{name}y.npy", labels)
    (place / "large-x.npy").rename(place / "large.npy")
    (place / "large-y.npy").rename(place / "large-labels.npy")
    for name, experiment in EXPERIMENTS.items():
        prefix = "three-" if name == "three" else ""
        document = {
            "name": name,
            "network": {"layers": [8, 7]},
            "loss": "squared",
            "stop": {"iterations": 6},
            "seed": 1,
            **experiment,
            "data": {"name": "files", "x": f"{prefix}x.npy", "y": f"{prefix}y.npy", **experiment.get("data", {})},
        }
        (place / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def compare(old: Path, new: Path) -> Iterator[str]:
    """Where two folders of results differ, a line each."""
    for folder in ("results", "all.csv"):
        yield from compare_folders(old / folder, new / folder)
    for file in (*old.glob("*.json"), *old.glob("*.predicted.csv")):
        yield from compare_files(file, new / file.name, file.name)


def compare_folders(old: Path, new: Path) -> Iterator[str]:
    files = {path.relative_to(old) for path in old.rglob("*") if path.is_file()}
    others = {path.relative_to(new) for path in new.rglob("*") if path.is_file()}
    yield from (f"only in the old one: {old.name}/{path}" for path in sorted(files - others))
    yield from (f"only in the new one: {new.name}/{path}" for path in sorted(others - files))
    print(f"comparing {len(files & others)} files of {old.name}", flush=True)
    for path in sorted(files & others):
        yield from compare_files(old / path, new / path, f"{old.name}/{path}")


def compare_files(old: Path, new: Path, name: str) -> Iterator[str]:
    """Compare a file by what it is: arrays bit for bit, tables and records without what was measured."""
    if old.suffix == ".npz":
        with np.load(old) as one, np.load(new) as other:
            if sorted(one) != sorted(other):
                yield f"{name}: has {sorted(other)} instead of {sorted(one)}"
                return
            for key in one:
                same = one[key].dtype == other[key].dtype and one[key].tobytes() == other[key].tobytes()
                if not same:
                    yield f"{name}: {key} differs"
    elif old.suffix == ".json":
        yield from differing(json.loads(old.read_text()), json.loads(new.read_text()), name)
    elif old.suffix == ".csv":
        yield from differing(table(old), table(new), name)
    elif old.suffix in (".txt", ".html"):
        yield from differing(wording(old), wording(new), name)
    elif old.suffix in (".yaml", ".npy"):
        if old.read_bytes() != new.read_bytes():
            yield f"{name}: differs"
    elif (old.stat().st_size == 0) != (new.stat().st_size == 0):  # pictures show seconds: they are not compared
        yield f"{name}: is empty on one side"


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV; where the first column has names of phases, those alone."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if path.name in ("phases.csv", "cpu.csv"):
        return [{"phase": row["phase"]} for row in rows]
    return rows


def wording(path: Path) -> list[str]:
    """The different pieces of a text, without numbers: seconds stand among them, and where a run broke off."""
    text = path.read_text()
    if path.suffix == ".html":
        text = re.sub(r"<(style|script|svg).*?</\1>", "", text, flags=re.DOTALL)
        # A piece is what stands between two tags, wherever its lines are broken.
        text = html.unescape(re.sub(r"\s*<[^>]+>\s*", "\n", " ".join(text.split())))
    text = re.sub(r"\b[0-9a-f]{40}\b", "#", text)  # a commit
    return sorted({NUMBER.sub("#", " ".join(line.split())) for line in text.splitlines()} - {""})


def differing(old: Any, new: Any, name: str) -> Iterator[str]:
    """Where two records differ, but for what was measured."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            if MEASURED.search(str(key)) or str(key).removeprefix("machine.") in MOMENT:
                continue
            if key not in old or key not in new:
                yield f"{name}: {key} is on one side alone"
            else:
                yield from differing(old[key], new[key], f"{name}: {key}")
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{name}: {len(new)} entries instead of {len(old)}"
        for number, (one, other) in enumerate(zip(old, new, strict=False)):
            yield from differing(one, other, f"{name}[{number}]")
    elif old != new:
        yield f"{name}: {new!r} instead of {old!r}"


if __name__ == "__main__":
    sys.exit(main())
