"""The z-update (Taylor eq. 7) of activations that have no closed form, from a table of solutions.

With r = gamma/beta, argmin_z r (a - h(z))^2 + (z - m)^2 is a function of two numbers, a and m. It is computed
beforehand on a grid and interpolated bilinearly. It jumps where two minima cost the same, and is steep near where
they merge: cells in which the interpolation errs by more than ``TOLERANCE`` are left out. An entry in such a cell,
or beyond the table, is solved on its own. So the error is bounded everywhere.

Symmetry leaves half of the table, m >= 0: tanh is odd, the cosine is even and periodic. A sigmoid is a tanh,
1 / (1 + exp(-z)) = (1 + tanh(z/2)) / 2.
"""

import math
import time

import numpy as np
from numpy.typing import NDArray

from admmctl import table_kernels

Array = NDArray[np.floating]
Float64 = NDArray[np.float64]

TOLERANCE = 1e-2  # of z


class Table:
    """Solutions for one ratio r = gamma/beta and f = tanh, or f = cos if ``period`` is 2 pi.

    ``cells`` (rows of a, columns of m, 4) are bilinear coefficients, NaN in cells that are left out. ``left_out``
    is the share of these, ``seconds`` the time that building took.
    """

    def __init__(self, r: float, period: float = 0.0) -> None:
        started = time.perf_counter()
        self.r, self.period = r, period
        self.reach = 8.0 if period else 2.0  # the largest |a|; cosine units are small, and a is far above them
        # The largest m: half a period, or where tanh is flat and moving to z = 0 costs more than any a gains.
        farthest = math.pi if period else max(8.0, math.sqrt(r) * (self.reach + 1) + 1)
        rows, columns = 256, math.ceil((48 if period else 24) * farthest)
        self._per = np.array([rows / (2 * self.reach), columns / farthest])
        cells, error = self._solved(rows, columns, farthest)
        cells[error > TOLERANCE / 2] = np.nan  # half of it is left for points that are not checked
        self.cells: NDArray[np.float32] = np.ascontiguousarray(cells, np.float32)
        self.left_out = float(np.mean(error > TOLERANCE / 2))
        self.seconds = time.perf_counter() - started

    def _solved(self, rows: int, columns: int, farthest: float) -> tuple[Float64, Float64]:
        """Coefficients of every cell, and the largest error in its middle and in those of its sides."""
        a = np.linspace(-self.reach, self.reach, 2 * rows + 1)
        m = np.linspace(0.0, farthest, 2 * columns + 1)
        grid = minimiser(self.r, self.period, *(axis.ravel() for axis in np.meshgrid(a, m, indexing="ij")))
        grid = grid.reshape(len(a), len(m))
        corners = grid[::2, ::2]
        z00, z01, z10, z11 = corners[:-1, :-1], corners[:-1, 1:], corners[1:, :-1], corners[1:, 1:]
        middles = {
            (1, 1): (z00 + z01 + z10 + z11) / 4,
            (0, 1): (z00 + z01) / 2,
            (2, 1): (z10 + z11) / 2,
            (1, 0): (z00 + z10) / 2,
            (1, 2): (z01 + z11) / 2,
        }
        errors = [np.abs(grid[i : i + 2 * rows : 2, j : j + 2 * columns : 2] - z) for (i, j), z in middles.items()]
        return np.stack([z00, z01 - z00, z10 - z00, z00 - z01 - z10 + z11], axis=-1), np.maximum.reduce(errors)

    def __str__(self) -> str:
        rows, columns, _ = self.cells.shape
        return (
            f"a table of {rows} x {columns} solutions for gamma/beta = {self.r:.3g}, "
            f"{self.cells.nbytes / 1e6:.1f} MB, built in {self.seconds:.2f} s; z is within {TOLERANCE:g} of its "
            f"minimiser, {100 * self.left_out:.1g} % of the table is solved for instead"
        )

    def z_update(self, z: Array, a: Array, m: Array, scale_a: float, shift_a: float, scale_m: float) -> None:
        """z <- w / scale_m, w the solution for scale_a a + shift_a and scale_m m; shapes of ``Activation``."""
        stretch = np.array([scale_a, shift_a, scale_m])
        read = table_kernels.read_cosine if self.period else table_kernels.read_tanh
        read(z.T, a.T, m.T, self.cells, stretch, self.r, self.reach, self._per)


def minimiser(r: float, period: float, a: Float64, m: Float64) -> Float64:
    """argmin_z r (a - f(z))^2 + (z - m)^2 for vectors ``a`` and ``m``, the best of all local minima, to 1e-8."""
    out = np.empty_like(m)
    table_kernels.search(a, m, r, period, out)
    return out
