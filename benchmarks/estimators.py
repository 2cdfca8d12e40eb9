"""``GraphAdmmClassifier`` beside scikit-learn's ``MLPClassifier``, as both come: accuracy, seconds of ``fit``.

    ADMMCTL_DATASETS=datasets .venv/bin/python benchmarks/estimators.py [--shuffle SEED] [SET ...]

Ten stratified folds of digits, breast-cancer, wine, and of the first 5,000 rows of HIGGS and MNIST where these are
prepared. Inputs are standardised for both, by themselves or by StandardScaler, inside of the clock. One thread;
the two take turns, fold by fold. A ratio is of neighbours in time: medians of them stand on a busy machine, too.
"""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from admmctl.estimators import GraphAdmmClassifier

ROWS = 5_000
BUNDLED = {"digits": load_digits, "breast-cancer": load_breast_cancer, "wine": load_wine}
PREPARED = {"higgs": "all", "mnist": "train"}


def rows_of(name):
    """X and y, or None where the data set is not prepared."""
    if name in BUNDLED:
        return BUNDLED[name](return_X_y=True)
    folder, part = Path(os.environ.get("ADMMCTL_DATASETS", "datasets")) / name, PREPARED[name]
    if not (folder / f"x_{part}.npy").exists():
        print(f"{name}: not prepared; admmctl fetch {name}")
        return None
    x, y = (np.load(folder / f"{array}_{part}.npy", mmap_mode="r")[:ROWS] for array in "xy")
    return np.asarray(x, np.float32), np.asarray(y)


def timed(model, X, y):
    """The fitted model, its seconds by the clock and those of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(X, y)
    return model, time.perf_counter() - wall, time.process_time() - cpu


def compare(name, shuffle):
    data = rows_of(name)
    if data is None:
        return
    X, y = data
    scores, seconds = [], []
    folds = StratifiedKFold(10, shuffle=True, random_state=shuffle).split(X, y)
    for fold, (train, test) in enumerate(folds):
        made = [
            GraphAdmmClassifier(random_state=fold),
            make_pipeline(StandardScaler(), MLPClassifier(random_state=fold)),
        ]
        order = (0, 1) if fold % 2 == 0 else (1, 0)
        fitted = {place: timed(made[place], X[train], y[train]) for place in order}
        scores.append([fitted[place][0].score(X[test], y[test]) for place in (0, 1)])
        seconds.append([fitted[place][1:] for place in (0, 1)])
    score, s = 100 * np.array(scores), np.array(seconds)
    ours, theirs = score.mean(axis=0)
    wall, cpu = np.median(s[:, 0] / s[:, 1], axis=0)
    won, lost = ((score[:, 0] > score[:, 1]).sum(), (score[:, 0] < score[:, 1]).sum())
    print(
        f"{name:14} accuracy {ours:6.2f} % against {theirs:6.2f} % (better in {won} folds, worse in {lost}); "
        f"seconds {np.median(s[:, 0, 0]):6.3f} against {np.median(s[:, 1, 0]):6.3f}, "
        f"ratio {wall:.2f}, of processor time {cpu:.2f}",
        flush=True,
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)  # of MLPClassifier, after its 200 epochs
    GraphAdmmClassifier(max_iter=1).fit(*load_iris(return_X_y=True))  # compiles its loops
    parser = argparse.ArgumentParser()
    parser.add_argument("sets", nargs="*", metavar="SET", choices=[*BUNDLED, *PREPARED, []])
    parser.add_argument("--shuffle", type=int, default=0, metavar="SEED", help="of the folds")
    arguments = parser.parse_args()
    for name in arguments.sets or [*BUNDLED, *PREPARED]:
        compare(name, arguments.shuffle)
