"""The least squares of all layers at once: their sums over rows, how long these last, and the steps they give.

Layer i takes the step (R V' - r W)(V V' + r I)^-1 from its weights W (k', k), with V (k, n) what it multiplies and
R (k', n) twice how far its outputs are to move. It is at rest where R V' = r W, whatever the inverse: V V'
may be older than R V', or come from other rows, as long as it is about that of the rows at hand.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from admmctl.comm import Comm
from admmctl.methods.division import solve_work
from admmctl.methods.layer_sums import LayerSums, age, largest
from admmctl.methods.least_squares import GramPair, RidgeFactor
from admmctl.methods.method import Array


def lasts(every: int, rows: int, inputs: int) -> bool:
    """Whether V V' of a layer may serve ``every`` iterations of ``rows`` rows each.

    That of few rows says too little about others: a step for these would be too long where it has no weight.
    """
    return every > 1 and rows >= 2 * inputs


class LayerSolves:
    """Factors of layers 1..N, whose sums are ``pairs``.

    ``factors`` are as ``LayerSums`` has them, ``rows`` are those of an iteration. After ``every`` iterations V V'
    of a layer that ``lasts`` is summed and factored anew, and after a fifth of all so far where these are fewer:
    at first it changes fast. Every rank solves for its own rows of the weights.

    ``sums`` of every layer are the same for all, or with ``apart`` each their own, which are reduced, solved and
    gathered by themselves. ``division`` says who has which piece of all weights as one vector.
    """

    def __init__(
        self,
        pairs: Mapping[int, GramPair],
        factors: Sequence[float],
        rows: int,
        every: int,
        damping: float,
        precision: type,
        comm: Comm,
        *,
        apart: bool = False,
    ) -> None:
        self._pairs = pairs
        self._lasts = {i: lasts(every, rows, pair.cross.shape[1]) for i, pair in pairs.items()}
        self._apart, self._comm = apart, comm
        if apart:
            self.sums = {i: LayerSums({i: pair}, [factors[i - 1]], comm) for i, pair in self._pairs.items()}
            shapes = [(len(pair.cross), len(pair.triangle)) for pair in pairs.values()]
            self.division = solve_work(shapes, factors).divide(comm)
        else:
            self.sums = dict.fromkeys(self._pairs, LayerSums(self._pairs, factors, comm))
            self.division = self.sums[1].division
        self._every, self._rows, self._damping, self.precision = every, rows, damping, precision
        self._factors: dict[int, RidgeFactor] = {}
        self._held: dict[int, float] = {}  # what was added to the diagonal of V V' for the factor
        self._summed_at: dict[int, int] = {}  # the iteration in which V V' was summed
        self._due: set[int] = set()  # layers whose V V' this iteration sums
        self._known: set[int] = set()  # layers whose V V' never changes

    def sum_inputs(self, blocks: Iterable[Array], share: float) -> None:
        """V V' of layer 1 from all rows, in blocks of columns, times ``share``: it is never summed again."""
        pair = self._pairs[1]
        for V in blocks:
            pair.add_gram(V)
        (packed,) = pair.packed()
        self._comm.reduce(packed, self.sums[1].ranks_of(1))
        pair.unpack(packed)
        pair.triangle *= pair.triangle.dtype.type(share)
        self.keep_inputs()

    def add_noise(self, looks: Array, deviation: float) -> None:
        """To V V' of layer 1 the mean of what noise on its first inputs adds, a new one for every row.

        ``looks``: how many features of a row such an input is, one after another.
        """
        diagonal = np.einsum("ii->i", self._pairs[1].triangle)
        noise = (self._rows * deviation**2 * looks).astype(diagonal.dtype)
        diagonal[: len(looks)] += np.asarray(noise, like=diagonal)

    def keep_inputs(self) -> None:
        """From the next iteration on, V V' of layer 1 stays as it is: that of all rows."""
        self._pairs[1].fix()
        self._known.add(1)

    def begin(self, iteration: int, rows: int) -> None:
        """Before the blocks of an iteration of ``rows`` rows; the last of an epoch may have fewer."""
        oldest, full = age(self._every, iteration), rows == self._rows
        self._due = {
            i
            for i, lasts in self._lasts.items()
            if not lasts or i not in self._summed_at or (full and iteration - self._summed_at[i] >= oldest)
        }
        for i in self._due:
            self._summed_at[i] = iteration
        for i, pair in self._pairs.items():
            pair.fix(i in self._known or i not in self._due)
            pair.clear()

    def add(self, i: int, R: Array, V: Array) -> None:
        """Add a block of columns to the sums of layer i."""
        self._pairs[i].add(R, V)

    def reduce(self) -> None:
        """Sum over ranks: all layers at once."""
        self.sums[1].reduce()

    def gather(self, vector: Array) -> None:
        """Copy every rank's piece of all weights to all ranks, in place.

        Raises Diverged, on all ranks, where a rank could not solve for its rows.
        """
        if self._apart:
            self.division.gather(vector)
        else:
            self.sums[1].gather(vector)

    def step(self, i: int, rows: slice, W: Array, ridge: float, *, same_ridge: bool) -> Array:
        """The step of those rows of layer i from W (k', k). ``same_ridge``: it is the same in every iteration.

        Raises Diverged where sums are not finite.
        """
        pair = self._pairs[i]
        if i in self._due and not (i in self._known and i in self._factors and same_ridge):
            mean = float(np.trace(pair.triangle, dtype=np.float64)) / len(pair.triangle)
            self._held[i] = ridge + self._damping * mean
            self._factor(i)
        downhill = pair.cross[rows]
        downhill -= W.dtype.type(ridge) * W[rows]
        return self._factors[i].solve(downhill)

    def cross(self, i: int) -> Array:
        """R V' of layer i; of the rows that ``step`` was asked for R V' - r W, from which it made their step."""
        return self._pairs[i].cross

    def _factor(self, i: int) -> None:
        triangle = self._pairs[i].triangle
        self._factors[i] = RidgeFactor(triangle, self._held[i], absolute=True, dtype=self.precision)

    def memory(self) -> dict[str, Any]:
        """V V' of layers that may not be summed in the next iteration, and what made their factors. Collective."""
        lasting = [i for i, lasts in self._lasts.items() if i in self._summed_at and (lasts or i in self._known)]
        sums = {i: self.sums[i].on_all(i, self._pairs[i].triangle) for i in lasting}
        return {
            "born": [self._summed_at.get(i) for i in self._pairs],
            "known": sorted(self._known),
            "lasting": [{"layer": i, "sums": sums[i], "held": self._held_of(i)} for i in lasting],
        }

    def _held_of(self, i: int) -> float:
        return largest(self._comm, self._held.get(i, 0.0))

    def recall(self, memory: dict[str, Any]) -> None:
        """Take back what ``memory`` has returned."""
        self._summed_at = {i: at for i, at in enumerate(memory["born"], start=1) if at is not None}
        self._known = set(memory["known"])
        for entry in memory["lasting"]:
            i = entry["layer"]
            self._pairs[i].triangle[...] = entry["sums"]
            self._held[i] = entry["held"]
            if self._comm.rank in self.sums[i].ranks_of(i):
                self._factor(i)
