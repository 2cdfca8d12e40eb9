"""Gradient boosted trees, the baseline of tabular data: LightGBM's (Ke et al. 2017), or scikit-learn's alike.

An iteration is a round of boosting: one tree on the gradients of the cross-entropy, or one for each of several
classes. There is no network: what a run's weights say is how many rounds count. Scores of rows are kept, and a
later evaluation adds the rounds since then. One rank.

``train_s`` holds the phase ``bin``, in which the library copies the rows into its own type and sorts their
features into bins, and the phase ``grow``, all of every round; evaluations are not in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from admmctl.errors import UserError
from admmctl.methods.method import Array, Cost, Diverged, Finished, Method, Problem
from admmctl.methods.trees import libraries
from admmctl.methods.trees.libraries import Library, LightGbm, Saved, ScikitLearn, prior
from admmctl.model.network import Network, Weights
from admmctl.settings import Count, NonNegative, Positive, Settings

_LIBRARY_BYTES = 100_000_000  # of memory that the libraries take themselves
_LEAF_BYTES = 200  # of a leaf with its node, text included


class TreesSettings(Settings):
    """The method block of ``trees``; defaults are those that both libraries have."""

    library: Literal["lightgbm", "sklearn"] = "lightgbm"
    learning_rate: Positive = 0.1
    leaves: int = Field(default=31, ge=2, description="of a tree, at most")
    depth: Count | None = Field(default=None, description="of a tree, at most; by default leaves alone decide")
    min_rows: Count = Field(default=20, description="of a leaf, at least")
    l2: NonNegative = Field(default=0.0, description="on the values of leaves")
    bins: int = Field(default=255, ge=2, le=255, description="that a feature is sorted into")
    features: float = Field(default=1.0, gt=0, le=1, description="part of them that a split looks at, at random")
    rows: float = Field(default=1.0, gt=0, le=1, description="part of them that a round sees, at random")


@dataclass
class Ensemble:
    """What makes outputs of rows, in the place of a network: the first so many rounds, as W = [[[rounds]]] says.

    With ``keep``, scores are remembered for arrays that stay where they are.
    """

    library: Library
    start: NDArray[np.float64]  # the scores without any tree
    outputs: int
    keep: bool
    _kept: dict[int, tuple[Array, int, NDArray[np.float64]]] = field(default_factory=dict)

    def blocks(self, a0: Array) -> Iterator[slice]:
        """All columns at once: a library has its own blocks."""
        yield slice(0, a0.shape[1])

    def forward(self, W: Weights, a0: Array) -> Array:
        """The scores (outputs, samples) of inputs with their row of ones (k_0 + 1, samples)."""
        rounds = int(W[0][0, 0])
        if rounds == 0:
            return self._as_outputs(np.tile(self.start, (a0.shape[1], 1)))
        place = a0.ctypes.data
        same, known, scores = self._kept.get(place, (a0, 0, None))
        if scores is None or known > rounds or same.shape != a0.shape:
            known, scores = 0, np.zeros((a0.shape[1], len(self.start)))
        if known < rounds:
            scores = scores + self.library.scores(a0[:-1].T, known, rounds)
        if self.keep:
            self._kept[place] = a0, rounds, scores  # with the array, so that no other takes its place
        return self._as_outputs(scores)

    def _as_outputs(self, scores: NDArray[np.float64]) -> Array:
        """Two outputs for the log-odds of two classes where there are two."""
        if scores.shape[1] == self.outputs:
            return scores.T
        return np.stack([np.zeros(len(scores)), scores[:, 0]])


def saved_ensemble(text: str, start: NDArray[np.float64], outputs: int, rounds: int) -> Ensemble:
    """From what ``Trees.saved`` gave. Raises MissingExtra without LightGBM, ValueError for what does not fit."""
    library = Saved(text)
    if library.rounds < rounds or outputs not in (len(start), len(start) + 1):
        raise ValueError("its trees do not fit together")
    return Ensemble(library, start, outputs, keep=False)


@dataclass
class TreesState:
    """The library's trees, and how many rounds of them there are."""

    problem: Problem
    library: Library
    ensemble: Ensemble
    rounds: int = 0


class Trees(Method):
    """Boosted trees on the inputs. The network of the experiment is left out."""

    Settings = TreesSettings
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy",)
    ranks = 1
    streams = False

    @classmethod
    def require(cls, settings: TreesSettings) -> None:
        libraries.require(settings.library)

    @classmethod
    def extra(cls, settings: TreesSettings) -> str | None:
        return "trees"

    @staticmethod
    def check(settings: TreesSettings, layers: int) -> list[tuple[str, str]]:
        if settings.rows < 1 and settings.library == "sklearn":
            return [("rows", "scikit-learn's trees see all rows; valid: 1, or library: lightgbm")]
        return []

    @staticmethod
    def hidden_layers(settings: TreesSettings, layers: list[int], outputs: int) -> list[int]:
        """None, whatever the experiment says."""
        return []

    def prepare(self, problem: Problem) -> None:
        """Load the library: that is no training."""
        libraries.require(self.settings.library)

    def init(self, problem: Problem) -> TreesState:
        """Rows sorted into bins. Raises UserError where a class has no training row, Diverged for a NaN."""
        made: dict[str, type[LightGbm] | type[ScikitLearn]] = {"lightgbm": LightGbm, "sklearn": ScikitLearn}
        y = problem.y
        classes = max(2, len(y))
        labels = (y[0] > 0.5).astype(np.int64) if len(y) == 1 else y.argmax(axis=0)
        counts = np.bincount(labels, minlength=classes).astype(np.float64)
        if not counts.all():
            raise UserError(f"trees need training rows of every class, and {np.sum(counts == 0)} have none")
        x = np.ascontiguousarray(problem.a0[:-1].T)
        if not np.isfinite(x).all():  # which a tree would take for a missing value, unlike every other method
            raise Diverged("the inputs are not finite")
        with problem.clock.phase("bin"):
            library = made[self.settings.library](self.settings, classes, x, labels, problem.seed, problem.threads)
        ensemble = Ensemble(library, prior(counts), len(y), keep=True)
        return TreesState(problem, library, ensemble)

    def step(self, s: TreesState) -> TreesState:
        """One round. Raises Finished where no split is left."""
        with s.problem.clock.phase("grow"):
            grown = s.library.grow()
        if not grown:
            raise Finished("no split makes the loss smaller")
        s.rounds += 1
        return s

    def weights(self, s: TreesState) -> Weights:
        return [np.full((1, 1), s.rounds, s.problem.a0.dtype)]

    def model(self, s: TreesState, network: Network) -> Ensemble:
        return s.ensemble

    def saved(self, s: TreesState) -> dict[str, Any] | None:
        """LightGBM's text, as bytes; of scikit-learn there would be a pickle only, and nothing is saved."""
        text = s.library.text()
        if text is None:
            return None
        trees = np.frombuffer(text.encode(), np.uint8)
        return {"bias": False, "trees": trees, "start": s.ensemble.start, "outputs": s.ensemble.outputs}

    def rows_seen(self, s: TreesState) -> int | None:
        return None if self.settings.rows == 1 else round(s.rounds * self.settings.rows * s.problem.total)

    def close(self, s: TreesState) -> None:
        s.library.close()

    def cost(self, network: Network, samples: int, total: int, ranks: int = 1) -> Cost:
        """The rows once more and as bins, and what a row has: gradients, scores, those of the evaluation.

        scikit-learn has rows in float64, at an evaluation as well.
        """
        features, outputs = network.sizes[0], network.sizes[-1]
        row = (9 if self.settings.library == "lightgbm" else 25) * features + 60 * outputs + 16
        histograms = 2 * 24 * features * self.settings.bins * self.settings.leaves
        fixed = _LIBRARY_BYTES + histograms + 300 * _LEAF_BYTES * self.settings.leaves * outputs
        return Cost(fixed + row * samples, None, total, ())
