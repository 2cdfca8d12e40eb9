"""Shift-invariant kernels by their Fourier transforms: Burmeister's report, section 2.2 (Rahimi and Recht).

By Bochner's theorem k(x, y) = E 2 cos(w'x + b) cos(w'y + b), with w from the kernel's Fourier transform and b
uniform on [0, 2 pi]: D draws make D features sqrt(2/D) cos(w'x + b), whose inner products approximate the kernel
to O(1/sqrt(D)) (the report's equations 5 to 7).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from admmctl.rng import normals, uniform_rows

KernelName = Literal["gaussian", "laplacian", "matern"]


@dataclass(frozen=True)
class Kernel:
    """A kernel of x - y, with length scale s:

    - ``gaussian``, exp(-|x - y|^2 / (2 s^2)): w is normal, N(0, I / s^2);
    - ``laplacian``, exp(-|x - y|_1 / s): entries of w are independent Cauchy, of scale 1/s;
    - ``matern`` of smoothness nu: w is multivariate Student's t, of 2 nu degrees of freedom and scale 1/s.
    """

    name: KernelName
    scale: float
    smoothness: float = 1.5

    def __post_init__(self) -> None:
        if self.name == "matern":
            import scipy.special  # noqa: F401  (before the clock of training runs; others start without it)

    def frequencies(self, seed: int, count: int, inputs: int) -> NDArray[np.float64]:
        """Draws of w, shape (count, inputs): from the seed alone, the same on every rank."""
        if self.name == "laplacian":
            # The inverse distribution function. It is infinite at 0: uniforms start half a step above that.
            uniforms = uniform_rows(seed, "frequencies", 0, count, inputs) + 2.0**-54
            draws: NDArray[np.float64] = np.tan(np.pi * (uniforms - 0.5))
        else:
            draws = normals(seed, "frequencies", (count, inputs)).astype(np.float64)
        if self.name == "matern":
            # Student's t: every normal vector is divided by the root of its own chi^2 / (2 nu), which is a gamma
            # variable of shape nu over nu. 1 - u lies in (0, 1]: no division by zero.
            from scipy.special import gammaincinv

            gamma = gammaincinv(self.smoothness, 1.0 - uniform_rows(seed, "chi-squared", 0, count, 1))
            draws *= np.sqrt(self.smoothness / gamma)
        return draws / self.scale

    def phases(self, seed: int, count: int) -> NDArray[np.float64]:
        """Draws of b, shape (count,)."""
        return 2 * np.pi * uniform_rows(seed, "phases", 0, count, 1)[:, 0]
