"""The yardstick: Taylor's Algorithm 1 as one writes it first, whole matrices and plain NumPy.

Kept to measure `admmctl` against, never used by it. The same mathematics and the same numbers to rounding
(ReLU, hinge, biases, multipliers in every update of the last constraint), in one process.
"""

import numpy as np


class SimpleAdmm:
    """``x`` (features, samples), ``y`` (1, samples) of 0 and 1, ``layers`` hidden sizes."""

    def __init__(self, x, y, layers, beta=1.0, gamma=10.0, ridge=1e-2, seed=0):
        self.y, self.beta, self.gamma, self.ridge = y, beta, gamma, ridge
        rng = np.random.default_rng(seed)
        sizes = [len(x), *layers, len(y)]
        self.L = len(sizes) - 1
        self.a, self.z, self.W = [self.with_ones(x)], [None], [None]
        for k, k_next in zip(sizes, sizes[1:], strict=False):
            W = rng.standard_normal((k_next, k + 1), dtype=np.float32) * np.float32(np.sqrt(2 / (k + 1)))
            self.z.append(W @ self.a[-1])
            self.a.append(self.with_ones(np.maximum(self.z[-1], 0)))
            self.W.append(W)
        self.lam = np.zeros_like(self.z[-1])
        for l in range(1, self.L + 1):
            self.W[l] = self.solve(self.z[l], self.a[l - 1])

    @staticmethod
    def with_ones(a):
        return np.vstack([a, np.ones((1, a.shape[1]), a.dtype)])

    def solve(self, z, a):
        gram = a @ a.T
        gram += self.ridge * np.trace(gram) / len(gram) * np.eye(len(gram), dtype=a.dtype)
        return np.linalg.solve(gram, a @ z.T).T

    def step(self, multipliers=True):
        beta, gamma, L = np.float32(self.beta), np.float32(self.gamma), self.L
        for l in range(1, L + 1):
            target = self.z[l] + self.lam / (2 * beta) if l == L else self.z[l]
            self.W[l] = self.solve(target, self.a[l - 1])
            m = self.W[l] @ self.a[l - 1]
            if l == L:
                break
            W, b = self.W[l + 1][:, :-1], self.W[l + 1][:, -1:]
            target = self.z[l + 1] + (self.lam / (2 * beta) if l + 1 == L else 0)
            matrix = beta * W.T @ W + gamma * np.eye(W.shape[1], dtype=W.dtype)
            a = np.linalg.solve(matrix, beta * W.T @ (target - b) + gamma * np.maximum(self.z[l], 0))
            positive = np.maximum((gamma * a + beta * m) / (gamma + beta), 0)
            negative = np.minimum(m, 0)
            cost_positive = gamma * (a - positive) ** 2 + beta * (positive - m) ** 2
            cost_negative = gamma * a**2 + beta * (negative - m) ** 2
            self.z[l] = np.where(cost_positive <= cost_negative, positive, negative)
            self.a[l] = self.with_ones(a)
        flat = m - self.lam / (2 * beta)
        rising, falling = flat + 1 / (2 * beta), flat - 1 / (2 * beta)
        one = np.where(rising < 1, rising, np.where(flat > 1, flat, 1))
        zero = np.where(falling > 0, falling, np.where(flat < 0, flat, 0))
        self.z[L] = np.where(self.y > 0.5, one, zero).astype(np.float32)
        if multipliers:
            self.lam = self.lam + beta * (self.z[L] - m)
