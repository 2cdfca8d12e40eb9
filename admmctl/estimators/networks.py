"""Networks of any number of layers: by the graph method of Zhang and Kleijn, and by Taylor's ADMM."""

from typing import Any, ClassVar, Literal

import numpy as np

from admmctl.estimators.base import Array, NetworkClassifier
from admmctl.estimators.parameters import Parameters, layered, plain
from admmctl.methods.method import Method, Problem
from admmctl.model.network import Network
from admmctl.settings import Count, NonNegative

# Of GraphAdmmClassifier: docs/estimators.md says on which data they were chosen.
_L2 = 0.2  # of "auto", times the root of the rows
_BATCHES = 8  # mini-batches in an epoch, between
_BATCH = (200, 500)  # so many rows in each
_KL_CLIP = 0.02


class LayerParameters(Parameters):
    """Parameters of what has hidden layers."""

    max_iter: Count
    hidden_layer_sizes: Count | list[Count]
    activation: str


class GraphParameters(LayerParameters):
    """Parameters of ``GraphAdmmClassifier``."""

    alpha: NonNegative | Literal["auto"]
    batch_size: Count | Literal["auto"]


class TaylorParameters(LayerParameters):
    """Parameters of ``AdmmClassifier``."""

    loss: str


class LayeredClassifier(NetworkClassifier):
    """What those with hidden layers of the user's share."""

    def _shape(self, x: Array, outputs: int) -> Network:
        return layered(len(x), self.hidden_layer_sizes, outputs, self.activation, self.kind)

    def _network_block(self, network: Network) -> dict[str, Any]:
        return super()._network_block(network) | {"activation": self.activation}


class GraphAdmmClassifier(LayeredClassifier):
    """A network of dense layers, trained by ``graph-admm`` on mini-batches, on the cross-entropy.

    Parameters, beside those that all have (``NetworkClassifier``):

    - ``hidden_layer_sizes``: units of every hidden layer; one number is one layer.
    - ``activation``: 'relu', 'hard-sigmoid' or 'dcutlu(l, u)'.
    - ``alpha``: alpha / 2 of the squared weights and biases is added to the loss summed over all training rows;
      'auto': a fifth of the root of the number of rows.
    - ``batch_size``: rows of a mini-batch; 'auto': an eighth of all, but no less than 200 and no more than 500.
    - ``max_iter``: epochs.
    """

    kind = "graph-admm"
    Parameters: ClassVar[type[Parameters]] = GraphParameters
    _loss = "cross-entropy"

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        *,
        activation: str = "relu",
        alpha: float | str = "auto",
        batch_size: int | str = "auto",
        max_iter: int = 30,
        scale: str = "standard",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.alpha = alpha
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.scale = scale
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.settings = settings

    @property
    def _stop(self) -> dict[str, Any]:
        return {"epochs": self.max_iter}

    def _own_settings(self, rows: int) -> dict[str, Any]:
        given, batch = self.settings or {}, plain(self.batch_size)
        if batch == "auto":
            batch = int(np.clip(rows // _BATCHES, *_BATCH))
        batch = min(rows, given.get("batch", batch) or rows)
        alpha = _L2 * np.sqrt(rows) if isinstance(self.alpha, str) else self.alpha
        own = {"penalties": "matrix", "batch": batch, "l2": alpha * batch / rows}
        return own | ({"kl_clip": _KL_CLIP} if given.get("penalties", "matrix") == "matrix" else {})

    def _round(self, method: Method, problem: Problem, state: Any) -> Any:
        """An epoch."""
        batch = method.settings.batch
        for _ in range(1 if batch is None else -(-problem.total // batch)):
            state = method.step(state)
        return state


class AdmmClassifier(LayeredClassifier):
    """A network of dense layers, trained by ``admm`` on all rows: weights by least squares in every iteration.

    Parameters, beside those that all have (``NetworkClassifier``):

    - ``hidden_layer_sizes``: units of every hidden layer; one number is one layer.
    - ``activation``: 'relu', 'hard-sigmoid', 'dcutlu(l, u)', 'tanh', 'sigmoid' or 'cosine'.
    - ``loss``: 'squared', 'signed-squared' or 'hinge', of an output for every class.
    - ``max_iter``: iterations, each over all rows.
    """

    kind = "admm"
    Parameters: ClassVar[type[Parameters]] = TaylorParameters

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        *,
        activation: str = "relu",
        loss: str = "squared",
        max_iter: int = 100,
        scale: str = "standard",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.loss = loss
        self.max_iter = max_iter
        self.scale = scale
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.settings = settings

    @property
    def _loss(self) -> str:
        return self.loss
