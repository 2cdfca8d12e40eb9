"""Convex ADMM by JAX over four devices of one processor, beside NumPy: ``python several_devices.py``.

JSON on standard output, a dict for every case: how far u, v, s, nu and the residuals are from NumPy's, also after
a step from a snapshot of NumPy's, and how rows are divided. In a process of its own: their number is fixed
when JAX is loaded.
"""

import json
import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import numpy as np

from admmctl.errors import MissingExtra
from admmctl.methods.convex.backend import backend
from support import convex

jax.config.update("jax_disable_most_optimizations", True)  # compiling takes nearly all of the time

CASES = {
    "block-pcg": {"solver": "block-pcg", "inner_iterations": 30, "inner_tolerance": 1e-11},
    "nystrom-pcg": {"solver": "nystrom-pcg", "rank": 12, "inner_iterations": 30, "inner_tolerance": 1e-11},
    "rbcd": {"solver": "rbcd", "block": 3, "precondition": "nystrom", "rank": 3},
    "exact": {"solver": "exact"},
}
ROWS = 61  # over four devices: three rows of zeros follow


def trained(library: str, devices: int, **settings):
    p = convex.rows(7, 3, ROWS, 4)
    common = {"patterns": 7, "beta": 0.2, "rho": 0.5, "scale_rows": True, "adapt_rho": True, "check_every": 3}
    return convex.trained(p, 5, **common, backend=library, devices=devices, **settings)


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def compared(settings: dict) -> dict:
    (_, numpy), (method, s) = trained("numpy", 1, **settings), trained("jax", 4, **settings)
    here, there = method.snapshot(numpy), method.snapshot(s)
    expected, residuals = method.residuals(numpy), method.residuals(s)
    found = {name: apart(there.common[name], here.common[name]) for name in ("u", "v")}
    found |= {name: apart(there.rows[name], here.rows[name]) for name in ("s", "nu")}
    found["residuals"] = max(abs(residuals[name] - expected[name]) for name in expected)
    found["accuracy"] = [residuals["primal_accuracy"], expected["primal_accuracy"]]
    # Goes on from where NumPy was.
    resumed = method.step(method.restore(method.init(s.problem), here))
    found["resumed"] = apart(np.asarray(resumed.v), method.step(numpy).v)
    found["rows"] = [
        [shard.data.shape[0] for shard in of.addressable_shards] for of in (s.system.X, s.s, resumed.nu)
    ]
    found["replicated"] = s.u.sharding.is_fully_replicated and len(s.u.sharding.device_set) == 4
    return found


if __name__ == "__main__":
    found = {name: compared(settings) for name, settings in CASES.items()}
    try:
        backend("jax", "cpu", "float64", devices=5)
    except MissingExtra as refusal:
        found["refusal"] = str(refusal)
    json.dump(found, sys.stdout)
