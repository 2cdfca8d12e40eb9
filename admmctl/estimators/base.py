"""What all classifiers share: from arrays to a ``Problem``, iterations and early stopping, predictions."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_X_y, validate_data
from threadpoolctl import ThreadpoolController

from admmctl.comm import Serial
from admmctl.data import scaling
from admmctl.data.dataset import held_back
from admmctl.data.scaling import Scaling
from admmctl.errors import UserError
from admmctl.estimators.experiments import numbered, write
from admmctl.estimators.parameters import Parameters, check, made_method, plain
from admmctl.methods.method import Diverged, Finished, Method, Problem, Untimed, start
from admmctl.model.losses import losses
from admmctl.model.network import Network, Weights, predicted, targets

Array = NDArray[np.floating]
Labels = NDArray[np.int64]

_SEEDS = 2**31 - 1
_BLOCK = 4096  # rows that statistics are summed over at a time
_SHARPNESS = (-3.0, 6.0)  # logarithms of the factors that are tried between outputs and log-odds


@dataclass(frozen=True)
class Rows:
    """Samples (k_0 + 1, rows), scaled, with their row of ones, and their classes (rows,) by number."""

    a0: Array
    labels: Labels


class NetworkClassifier(ClassifierMixin, BaseEstimator):
    """A network that a method of ours trains on arrays. These parameters all of them have:

    - ``scale``: of the inputs, as ``data.scale`` in an experiment: 'standard', 'centred', 'unit' or 'none'.
    - ``early_stopping``: hold back ``validation_fraction`` of the rows; stop after ``n_iter_no_change`` rounds in
      which they were not classified better, and keep the weights of the best round.
    - ``warm_start``: go on from the weights of the last ``fit``.
    - ``n_jobs``: threads of linear algebra; None is 1, -1 all cores.
    - ``random_state``: a seed, or a generator.
    - ``settings``: keys of the method's block in an experiment file, which count before all else.

    After ``fit``: ``classes_``; ``weights_``, a matrix (k_l, k_{l-1} + 1) for every layer with its biases in the
    last column, of the ``network_``; ``scaling_`` of the inputs; ``n_iter_``, rounds; with early stopping
    ``validation_scores_``, accuracies after every round.
    """

    kind: ClassVar[str]  # the method's name
    Parameters: ClassVar[type[Parameters]]  # types and bounds of what ``__init__`` takes
    weights_: Weights
    scaling_: Scaling
    _seed: int  # of the last fit

    # What a subclass says of itself.

    @property
    @abstractmethod
    def _loss(self) -> str:
        """The name of the loss."""

    @abstractmethod
    def _shape(self, x: Array, outputs: int) -> Network:
        """The network for scaled samples ``x`` (features, rows)."""

    def _own_settings(self, rows: int) -> dict[str, Any]:
        """The method's settings for so many training rows, where ``settings`` does not say otherwise."""
        return {}

    @property
    def _most_rounds(self) -> int:
        """How many rounds there are at most, counted by ``n_iter_``."""
        return self.max_iter

    def _round(self, method: Method, problem: Problem, state: Any) -> Any:
        """The state after what ``n_iter_`` counts as one. Raises Finished and Diverged."""
        return method.step(state)

    def _go_on(self, method: Method, state: Any) -> Any:
        """The state to start from with ``warm_start``; the network's weights are those of before already."""
        return state

    def _keep(self, method: Method, state: Any) -> None:
        """Keep what ``_go_on`` needs beside the weights."""

    @property
    def _stop(self) -> dict[str, Any]:
        """Where training ends at last, as an experiment says it. Raises UserError where none can say it."""
        return {"iterations": self._most_rounds}

    def _network_block(self, network: Network) -> dict[str, Any]:
        """The network, as an experiment says it."""
        return {"layers": list(network.sizes[1:-1])}

    # What users call.

    def fit(self, X: Any, y: Any) -> Self:
        """Train on ``X`` (rows, features) and labels ``y`` (rows,) of any type.

        Raises ValueError for input or parameters that cannot be used, and where training diverges.
        """
        goes_on = self.warm_start is True and hasattr(self, "weights_")
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), reset=not goes_on)
        with self._plain_errors(), self._threads() as threads:
            classes, labels = self._checked(y)
            if goes_on and not np.array_equal(classes, self.classes_):
                raise UserError(f"warm_start: y has the classes {classes}, and had {self.classes_} before")
            self._fit(X, labels, classes, goes_on, threads)
        return self

    def decision_function(self, X: Any) -> Array:
        """Outputs (rows, classes); of two classes (rows,), above 0 for the second one.

        Raises NotFittedError, and ValueError for input that cannot be used.
        """
        check_is_fitted(self, "weights_")
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        with self._plain_errors(), self._threads():
            z = self._outputs(_samples(X, self.scaling_, np.float64))
        return z[0] if len(z) == 1 else z.T

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels (rows,). Raises as ``decision_function`` does."""
        z = self.decision_function(X)
        chosen: NDArray[Any] = self.classes_[(z > 0).astype(int) if z.ndim == 1 else z.argmax(axis=1)]
        return chosen

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (rows, classes), in the order of ``classes_``. Raises as ``decision_function`` does.

        They are the logistic function or softmax of the outputs, times a factor where the loss is not the
        cross-entropy: that with which the rows that ``fit`` held back, or else trained on, are most likely.
        """
        z = self.decision_function(X) * self.sharpness_
        if z.ndim == 1:
            return np.column_stack([expit(-z), expit(z)])
        probabilities: Array = softmax(z, axis=1)
        return probabilities

    def save_experiment(self, folder: str | Path, X: Any, y: Any, X_test: Any, y_test: Any) -> Path:
        """Write an experiment that trains as ``fit(X, y)`` does, and its rows, into a folder; returns its file.

        ``admmctl.train(file)``, or ``admmctl train`` on any number of ranks, leaves a run folder: the curve, with
        test accuracies on ``X_test``, and the record. ``early_stopping`` holds back other rows there than in
        ``fit``; ``warm_start`` counts for nothing.
        Raises ValueError for input that cannot be used, and where the folder has an experiment already.
        """
        X, y = check_X_y(X, y, dtype=(np.float64, np.float32))
        X_test, y_test = check_X_y(X_test, y_test, dtype=(np.float64, np.float32))
        with self._plain_errors():
            classes, labels = self._checked(y)
            if X_test.shape[1] != X.shape[1]:
                raise UserError(f"X_test has {X_test.shape[1]} features, and X has {X.shape[1]}")
            arrays = {"x": X, "y": labels, "x_test": X_test, "y_test": numbered(y_test, classes)}
            title = " ".join(repr(self).split())
            return write(Path(folder), title, classes, arrays, self._experiment(X, len(classes)))

    def _experiment(self, X: Array, classes: int) -> dict[str, Any]:
        """All blocks of an experiment, but for the places of its rows."""
        data: dict[str, Any] = {"scale": self.scale}
        rows, stop = len(X), self._stop
        if self.early_stopping:
            data["validation"] = self.validation_fraction
            rows -= held_back(rows, self.validation_fraction)
            stop = {**stop, "patience": self.n_iter_no_change}
        samples = _samples(X, _fitted_scaling(X, self.scale), np.float32)
        network, settings, _ = self._made(samples[:-1], rows, classes)
        threads = effective_n_jobs(self.n_jobs)
        blocks = {
            "data": data,
            "network": self._network_block(network),
            "loss": self._loss,
            "methods": {self.kind: settings},
            "stop": stop,
            "seed": self._drawn_seed(),
            **({} if threads == 1 else {"threads": threads}),
        }
        return {key: plain(block) for key, block in blocks.items()}

    # What both fit and an experiment begin with.

    def _checked(self, y: Any) -> tuple[NDArray[Any], Labels]:
        """The classes of ``y``, sorted, and labels (rows,) by number. Raises UserError, for parameters too."""
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        check(self.Parameters, {name: getattr(self, name) for name in self.Parameters.model_fields})
        if len(classes) < 2:
            raise UserError(f"two classes or more are needed, and y has one class, {classes[0]!r}")
        return classes, labels

    def _made(self, x: Array, rows: int, classes: int) -> tuple[Network, dict[str, Any], Method]:
        """For scaled samples ``x``, of which ``rows`` train: network, settings of the method, and the method."""
        network = self._shape(x, 1 if classes == 2 else classes)
        settings = self._own_settings(rows) | (self.settings or {})
        return network, settings, made_method(self.kind, settings, self._loss, network)

    def _drawn_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(_SEEDS))

    # Training.

    def _fit(self, X: Array, labels: Labels, classes: NDArray[Any], goes_on: bool, threads: int) -> None:
        """Sets all that a prediction needs, when it is there: what fails leaves the fit of before."""
        # What goes on from before goes on with the same random numbers, and the same scaling.
        seed = self._seed if goes_on else self._drawn_seed()
        train, held = self._divided(X, labels, seed)
        scale = self.scaling_ if goes_on else _fitted_scaling(X[train], self.scale)
        rows = Rows(_samples(X[train], scale, np.float32), labels[train])
        network, _, method = self._made(rows.a0[:-1], len(rows.labels), len(classes))
        loss = losses.load(self._loss)()
        if goes_on and [W_l.shape for W_l in self.weights_] != network.shapes:
            raise UserError(f"warm_start: the layers {network.sizes} are not those of before")
        problem = Problem(
            a0=rows.a0,
            y=targets(rows.labels, network.sizes[-1]),
            network=replace(network, start=self.weights_) if goes_on else network,
            loss=loss,
            comm=Serial(),
            clock=Untimed(),
            seed=seed,
            start=0,
            total=len(rows.labels),
            threads=threads,
        )
        left_out = None if held is None else Rows(_samples(X[held], scale, np.float32), labels[held])
        self.weights_ = self._trained(method, problem, left_out, goes_on)
        self.classes_, self.network_, self.scaling_, self._seed = classes, network, scale, seed
        self.threshold_ = loss.threshold
        self.sharpness_ = 1.0 if self._loss == "cross-entropy" else self._sharpness(left_out or rows)

    def _divided(self, X: Array, labels: Labels, seed: int) -> tuple[Any, Labels | None]:
        """Which rows train, and which early stopping holds back. Raises ValueError for too few of a class."""
        if not self.early_stopping:
            return slice(None), None
        part = self.validation_fraction
        train, held = train_test_split(np.arange(len(X)), test_size=part, stratify=labels, random_state=seed)
        return train, held

    def _trained(self, method: Method, problem: Problem, held: Rows | None, goes_on: bool) -> Weights:
        """The weights after the last round, or those that ``held`` rows are classified best by."""
        network, threshold = problem.network, problem.loss.threshold
        state, best, scores = start(method, problem), [], []
        self.n_iter_ = 0
        if goes_on:
            state = self._go_on(method, state)
        try:
            while self.n_iter_ < self._most_rounds:
                state = self._round(method, problem, state)
                self.n_iter_ += 1
                if held is None:
                    continue
                W = method.weights(state)
                scores.append(float((predicted(network, W, threshold, held.a0) == held.labels).mean()))
                if scores[-1] > max(scores[:-1], default=-1.0):
                    best = [W_l.copy() for W_l in W]
                elif len(scores) - np.argmax(scores) > self.n_iter_no_change:
                    break
        except Finished:
            self.n_iter_ = max(1, self.n_iter_)
        finally:
            method.close(state)
        W = best or [np.array(W_l) for W_l in method.weights(state)]
        if not all(np.isfinite(W_l).all() for W_l in W):
            raise Diverged(f"the weights are not finite after {self.n_iter_} iterations")
        if held is not None:
            self.validation_scores_ = scores
        if self.warm_start:
            self._keep(method, state)
        return W

    def _sharpness(self, rows: Rows) -> float:
        """The factor of outputs with which the rows' classes are most likely."""
        z = self._outputs(rows.a0.astype(np.float64))
        if len(z) == 1:
            z = np.vstack([-z, z]) / 2
        chosen = z[rows.labels, np.arange(len(rows.labels))]
        gaps = z - chosen

        def unlikely(logarithm: float) -> float:
            return float(np.logaddexp.reduce(np.exp(logarithm) * gaps, axis=0).mean())

        return float(np.exp(minimize_scalar(unlikely, bounds=_SHARPNESS, method="bounded").x))

    def _outputs(self, a0: Array) -> Array:
        """Outputs (outputs, rows) less their threshold, in the type of ``a0``.

        In float64 those of a row do not depend, beyond the last digits, on the rows it is predicted with.
        """
        W = [W_l.astype(a0.dtype) for W_l in self.weights_]
        z = np.hstack([self.network_.forward(W, a0[:, columns]) for columns in self.network_.blocks(a0)])
        return z - self.threshold_

    # What stands around all of it.

    @contextmanager
    def _threads(self) -> Iterator[int]:
        """Linear algebra by ``n_jobs`` threads."""
        count = effective_n_jobs(self.n_jobs)
        with _controller().limit(limits=count, user_api="blas"), np.errstate(all="ignore"):
            yield count

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """Our errors as ValueError, which users of scikit-learn expect."""
        try:
            yield
        except UserError as error:
            raise ValueError(f"{type(self).__name__}: {error}") from None
        except Diverged as error:
            cure = "stronger regularisation, or inputs of usual size (scale='standard'), may help"
            raise ValueError(f"{type(self).__name__}: training diverged: {error}; {cure}") from None


def _fitted_scaling(X: Array, kind: str) -> Scaling:
    """By the statistics of the rows ``X`` (rows, features)."""
    starts = range(0, len(X), _BLOCK)
    return scaling.fit(lambda: (X[low : low + _BLOCK] for low in starts), X.shape[1], len(X), kind, Serial())


def _samples(X: Array, scale: Scaling, dtype: type) -> Array:
    """Scaled, with a row of ones, (features + 1, rows), Fortran order. Raises UserError for what is too large."""
    samples = np.ones((len(X), X.shape[1] + 1), dtype=dtype)
    scale.apply(X, samples[:, :-1])
    if not (np.abs(samples) <= np.finfo(np.float32).max).all():
        raise UserError("X has numbers that are too large for float32 once they are scaled")
    return samples.T


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    """Of the libraries that are loaded: to look for them takes milliseconds."""
    return ThreadpoolController()
