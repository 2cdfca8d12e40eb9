"""Boosted trees round by round, as LightGBM and scikit-learn grow them.

The extra ``trees`` is needed; its libraries are imported only here, and only when a run asks for one. Rows are
(rows, features), labels whole numbers from 0, scores log-odds: (rows, 1) for two classes, else (rows, classes).
"""

import threading
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from admmctl.errors import MissingExtra
from admmctl.methods.method import Array

_FOREVER = 10**9  # scikit-learn's own limit on rounds: the loop decides when to stop
NAMES = {"lightgbm": "LightGBM", "sklearn": "scikit-learn"}


def require(library: str) -> Any:
    """The module lightgbm or sklearn.ensemble. Raises MissingExtra where it is not here, or does not load."""
    try:
        if library == "lightgbm":
            import lightgbm

            return lightgbm
        import sklearn.ensemble

        return sklearn.ensemble
    except ImportError:
        other = {"lightgbm": "sklearn", "sklearn": "lightgbm"}[library]
        raise MissingExtra(
            f"this method needs {NAMES[library]}, which is not installed; run: pip install 'admmctl[trees]' "
            f"(or try library: {other})"
        ) from None
    except OSError as error:  # a wheel without the system's OpenMP
        raise MissingExtra(f"this method needs {NAMES[library]}, which does not load here: {error}") from None


class Library(ABC):
    """Trees that grow, a round at a time. In a round there is one tree, or one for each of several classes."""

    @abstractmethod
    def grow(self) -> bool:
        """One more round; False where no split makes the loss smaller, and there was none."""

    @abstractmethod
    def scores(self, x: Array, first: int, last: int) -> NDArray[np.float64]:
        """What the rounds [first, last) add to the scores of ``x``; round 0 brings the classes' shares along."""

    def text(self) -> str | None:
        """All rounds as text, from which ``Saved`` makes them again; None where the library has no such thing."""
        return None

    def close(self) -> None:
        """End what runs besides; scores can still be asked for."""
        return None


class LightGbm(Library):
    """A booster that is updated once a round."""

    def __init__(self, s: Any, classes: int, x: Array, labels: NDArray[np.int64], seed: int, threads: int) -> None:
        lightgbm = require("lightgbm")
        objective = {"objective": "binary"} if classes == 2 else {"objective": "multiclass", "num_class": classes}
        parameters = {
            **objective,
            "learning_rate": s.learning_rate,
            "num_leaves": s.leaves,
            "max_depth": s.depth or -1,
            "min_data_in_leaf": s.min_rows,
            "lambda_l2": s.l2,
            "max_bin": s.bins,
            "feature_fraction_bynode": s.features,
            "bagging_fraction": s.rows,
            "bagging_freq": int(s.rows < 1),
            "seed": seed,
            "num_threads": threads,
            "deterministic": True,  # and one layout of histograms, instead of the one that is faster at the moment
            "force_row_wise": True,
            "verbosity": -1,
        }
        data = lightgbm.Dataset(x, labels.astype(np.float32), params=parameters)
        self._booster = lightgbm.Booster(parameters, data)
        self._threads = threads

    def grow(self) -> bool:
        return not self._booster.update()

    def scores(self, x: Array, first: int, last: int) -> NDArray[np.float64]:
        return _booster_scores(self._booster, x, first, last, self._threads)

    def text(self) -> str:
        return str(self._booster.model_to_string(num_iteration=-1))


class Saved(Library):
    """LightGBM's trees as they were saved; they grow no more."""

    def __init__(self, text: str) -> None:
        """Raises MissingExtra without LightGBM, ValueError for what is no such text."""
        lightgbm = require("lightgbm")
        try:
            self._booster = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            raise ValueError(f"its trees cannot be read ({error})") from None

    @property
    def rounds(self) -> int:
        """How many there are."""
        return int(self._booster.current_iteration())

    def grow(self) -> bool:
        return False

    def scores(self, x: Array, first: int, last: int) -> NDArray[np.float64]:
        return _booster_scores(self._booster, x, first, last, 1)


def _booster_scores(booster: Any, x: Array, first: int, last: int, threads: int) -> NDArray[np.float64]:
    found = booster.predict(np.ascontiguousarray(x), first, last - first, raw_score=True, num_threads=threads)
    return np.asarray(found, np.float64).reshape(len(x), -1)


class _Stopped(Exception):
    """Ends scikit-learn's thread when nobody asks for further rounds."""


class ScikitLearn(Library):
    """One call of ``fit``, in a thread of its own that waits after every round until the next is asked for.

    ``fit`` asks a scorer whether to stop before the first round and after each: this is where it waits. So rows
    are binned once, and scores are never computed anew from all trees, as ``warm_start`` would do in every round.
    Only one of the two threads runs at a time.
    """

    def __init__(self, s: Any, classes: int, x: Array, labels: NDArray[np.int64], seed: int, threads: int) -> None:
        self._classes, self._threads = classes, threads
        self._go, self._ready = threading.Semaphore(0), threading.Semaphore(0)
        self._stopping = False
        self._failure: BaseException | None = None
        self._model = require("sklearn").HistGradientBoostingClassifier(
            learning_rate=s.learning_rate,
            max_iter=_FOREVER,
            max_leaf_nodes=s.leaves,
            max_depth=s.depth,
            min_samples_leaf=s.min_rows,
            l2_regularization=s.l2,
            max_features=s.features,
            max_bins=s.bins,
            early_stopping=True,  # asks the scorer, which never says so
            scoring=self._wait,
            validation_fraction=None,
            n_iter_no_change=_FOREVER,
            random_state=seed,
        )
        counts = np.bincount(labels, minlength=classes).astype(np.float64)
        self._start = prior(counts)
        # A daemon: a run that ends early leaves it waiting, and it must not keep the process alive.
        self._thread = threading.Thread(target=self._fit, args=(x, labels), daemon=True)
        self._thread.start()
        self._wait_for_round()

    def _fit(self, x: Array, labels: NDArray[np.int64]) -> None:
        try:
            with threadpool_limits(self._threads, user_api="openmp"):  # of this thread, and those it starts
                self._model.fit(x, labels)
        except _Stopped:
            return
        except BaseException as failure:  # handed over to the thread that asked for a round
            self._failure = failure
        self._ready.release()

    def _wait(self, model: Any, x: Any, y: Any) -> float:
        """The scorer: every score is the same."""
        self._ready.release()
        self._go.acquire()
        if self._stopping:
            raise _Stopped
        return 0.0

    def _wait_for_round(self) -> None:
        self._ready.acquire()
        if self._failure is not None:
            raise self._failure

    def grow(self) -> bool:
        self._go.release()
        self._wait_for_round()
        return True

    def scores(self, x: Array, first: int, last: int) -> NDArray[np.float64]:
        found = np.zeros((len(x), len(self._start)), order="F")
        if first == 0:
            found += self._start
        # No public method adds some of the rounds, or can be called before ``fit`` returns.
        rounds = self._model._predictors[first:last]
        x = np.asarray(x, np.float64)
        self._model._predict_iterations(x, rounds, found, is_binned=False, n_threads=self._threads)
        return found

    def close(self) -> None:
        if self._thread.is_alive():
            self._stopping = True
            self._go.release()
            self._thread.join()


def prior(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores without any tree, by rows of every class: (1,) log-odds of two classes, or (classes,) logarithms."""
    shares = np.log(counts / counts.sum())
    return shares[1:] - shares[0] if len(shares) == 2 else shares
