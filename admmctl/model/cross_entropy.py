"""Cross-entropy, apart from the other losses: it alone needs scipy.special, a third of what a rank imports."""

import numpy as np
from scipy.special import expit, log1p, logsumexp

from admmctl.model.losses import Array, Loss


class CrossEntropy(Loss):
    """-log p(class): logistic for one output, softmax for several."""

    threshold = 0.0
    soft_targets = True

    def value(self, z: Array, y: Array) -> float:
        if len(z) == 1:
            # log(1 + e^z) - y z, without overflow
            losses_ = np.maximum(z, 0) + log1p(np.exp(-np.abs(z))) - y * z
            return float(losses_.sum(dtype=np.float64))
        picked = np.einsum("ij,ij->j", z, y)
        return float((_log_sums(z) - picked).sum(dtype=np.float64))

    def gradient(self, z: Array, y: Array) -> Array:
        if len(z) == 1:
            result: Array = expit(z) - y
            return result
        p = _softmax(z)
        p -= y
        return p

    def drawn_gradient(self, z: Array, uniform: Array) -> Array:
        """One number a sample draws its class."""
        if len(z) == 1:
            result: Array = expit(z)
            result -= uniform < result
            return result
        p = _softmax(z)
        chosen = (uniform[0] >= np.cumsum(p[:-1], axis=0)).sum(axis=0)
        p[chosen, np.arange(p.shape[1])] -= 1
        return p


def _log_sums(z: Array) -> Array:
    """log sum_k e^z_k of every sample."""
    if isinstance(z, np.ndarray):
        summed: Array = logsumexp(z, axis=0)
        return summed
    most = z.max(axis=0)  # SciPy takes arrays of NumPy alone
    return most + np.log(np.exp(z - most).sum(axis=0))


def _softmax(z: Array) -> Array:
    p: Array = np.exp(z - z.max(axis=0))
    p /= p.sum(axis=0)
    return p
