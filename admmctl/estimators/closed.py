"""Two classifiers that end at an optimum: the convex network, and random features with one solve."""

from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np

from admmctl.errors import UserError
from admmctl.estimators.base import Array, NetworkClassifier
from admmctl.estimators.parameters import Parameters
from admmctl.methods.method import Finished, Method, Problem, Snapshot, trainer
from admmctl.model.fourier import Kernel
from admmctl.model.network import Network
from admmctl.settings import Count, NonNegative, Positive

_RIDGES = 16  # that early stopping tries at most: a ridge of 0 is never reached


class ConvexParameters(Parameters):
    """Parameters of ``ConvexReluClassifier``."""

    max_iter: Count
    n_patterns: Count
    beta: NonNegative
    tol: NonNegative


class ConvexReluClassifier(NetworkClassifier):
    """A two-layer ReLU network, trained by ``convex-admm`` as a convex problem, whose optimum can be checked.

    Parameters, beside those that all have (``NetworkClassifier``):

    - ``n_patterns``: activation patterns that are sampled; each is two hidden units for every output.
    - ``beta``: weight of the group norm, which chooses among the patterns.
    - ``tol``: training ends where all optimality conditions hold to it, relative; 0: never before ``max_iter``.
    - ``max_iter``: iterations, each over all rows.

    More than two classes are as many problems on one set of patterns, solved side by side.
    """

    kind = "convex-admm"
    Parameters: ClassVar[type[Parameters]] = ConvexParameters
    _loss = "signed-squared"

    def __init__(
        self,
        n_patterns: int = 50,
        *,
        beta: float = 1e-3,
        tol: float = 1e-4,
        max_iter: int = 200,
        scale: str = "standard",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.n_patterns = n_patterns
        self.beta = beta
        self.tol = tol
        self.max_iter = max_iter
        self.scale = scale
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.settings = settings

    def _shape(self, x: Array, outputs: int) -> Network:
        patterns = (self.settings or {}).get("patterns", self.n_patterns)
        return Network.build(len(x), [2 * outputs * int(patterns)], outputs, "relu", True)

    def _own_settings(self, rows: int) -> dict[str, Any]:
        return {"patterns": self.n_patterns, "beta": self.beta, "tolerance": self.tol}

    def _keep(self, method: Method, state: Any) -> None:
        common = method.snapshot(state).common
        copies = {key: np.array(value) for key, value in common.items() if isinstance(value, np.ndarray)}
        self._kept = state.patterns.H, common | copies

    def _go_on(self, method: Method, state: Any) -> Any:
        """From u, v and lam of before, s = (G v)_+ and nu = 0, whatever the rows; anew where patterns differ."""
        H, common = self._kept
        if not np.array_equal(H, state.patterns.H):
            return state
        system = state.system
        s = np.maximum(system.backend.numpy(system.G(system.backend.array(common["v"]))), 0)
        return method.restore(state, Snapshot(common, {"s": s, "nu": np.zeros_like(s)}))


class FeatureParameters(Parameters):
    """Parameters of ``RandomFeaturesClassifier``."""

    n_components: Count
    kernel: Literal["gaussian", "laplacian", "matern"]
    length_scale: Positive | None
    ridge: NonNegative


class RandomFeaturesClassifier(NetworkClassifier):
    """Ridge regression on random features of a kernel, by ``random-features``: one solve in closed form.

    Parameters, beside those that all have (``NetworkClassifier``):

    - ``n_components``: random features.
    - ``kernel``: 'gaussian', 'laplacian' or 'matern'.
    - ``length_scale``: of the kernel, in units of the scaled inputs; None: the root of half the sum of their
      variances, which for 'gaussian' is ``gamma='scale'`` of ``SVC``.
    - ``ridge``: relative to the mean diagonal of the matrix of the solve.

    With ``early_stopping`` the ridge falls from 1 to ``ridge``, by a factor of ten in a round. With ``warm_start``
    the features stay as they were drawn, and the output layer is solved for anew.
    """

    kind = "random-features"
    Parameters: ClassVar[type[Parameters]] = FeatureParameters
    _loss = "squared"

    def __init__(
        self,
        n_components: int = 1000,
        *,
        kernel: str = "gaussian",
        length_scale: float | None = None,
        ridge: float = 0.3,
        scale: str = "standard",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 2,
        warm_start: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.length_scale = length_scale
        self.ridge = ridge
        self.scale = scale
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.settings = settings

    def _shape(self, x: Array, outputs: int) -> Network:
        kind: Any = self.kernel
        length = self.length_scale or float(np.sqrt(len(x) * x.var() / 2)) or 1.0
        return Network.build(len(x), [int(self.n_components)], outputs, "cosine", True, Kernel(kind, length))

    def _network_block(self, network: Network) -> dict[str, Any]:
        assert network.kernel is not None
        start = {"activation": "cosine", "init": network.kernel.name, "init_scale": network.kernel.scale}
        return super()._network_block(network) | start

    def _own_settings(self, rows: int) -> dict[str, Any]:
        return {"ridge": self.ridge}

    @property
    def _stop(self) -> dict[str, Any]:
        if self.early_stopping:
            raise UserError(
                "early_stopping: it chooses a ridge here, which no experiment does; admmctl sweep chooses one"
            )
        return super()._stop

    @property
    def _most_rounds(self) -> int:
        return _RIDGES if self.early_stopping else 1

    def _round(self, method: Method, problem: Problem, state: Any) -> Any:
        """The solve; with early stopping that of the next ridge. Raises Finished after the last one."""
        if not self.early_stopping:
            return method.step(state)
        least = method.settings.ridge
        if self.n_iter_ and 10.0 ** (1 - self.n_iter_) <= least:
            raise Finished
        settings = method.settings.model_copy(update={"ridge": max(least, 10.0**-self.n_iter_)})
        return trainer(self.kind, settings, self._loss).step(replace(state, solved=False))
