"""The convex method on PyTorch and JAX says what it says on NumPy."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError
from support import convex
from support.convex import rows
from support.methods import on_parts

from admmctl.devices.library import torch_for
from admmctl.errors import MissingExtra, UserError
from admmctl.methods.convex.algorithm import ConvexAdmm
from admmctl.methods.convex.backend import backend
from admmctl.methods.convex.settings import ConvexAdmmSettings
from admmctl.methods.method import Diverged

SOLVERS = {
    "cholesky": {"solver": "cholesky"},
    "exact": {"solver": "exact"},
    "convex-cg": {"solver": "convex-cg", "inner_iterations": 30},
    "jacobi-pcg": {"solver": "jacobi-pcg", "inner_iterations": 30},
    "nystrom-pcg": {"solver": "nystrom-pcg", "rank": 12, "inner_iterations": 30},
    "nystrom-pcg of its own rank": {"solver": "nystrom-pcg", "inner_iterations": 30},
    "block-pcg": {"solver": "block-pcg", "inner_iterations": 30},
    "rbcd": {"solver": "rbcd", "block": 3},
    "rbcd with a sketch": {"solver": "rbcd", "block": 3, "precondition": "nystrom", "rank": 3},
    "rbcd as in the paper": {"solver": "rbcd", "block": 1, "precondition": "none", "line_search": "backtracking"},
}
# Single precision ends where it ends; and a block search that halves steps may halve one more.
STEPS = 6


@pytest.fixture(params=["torch", "jax"])
def library(request):
    """The name of a library; what it changes for the whole process is put back."""
    pytest.importorskip(request.param)
    if request.param == "numpy":
        yield request.param
    elif request.param == "torch":
        import torch

        threads = torch.get_num_threads()
        yield request.param
        torch.set_num_threads(threads)
    else:
        import jax

        before = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision
        # Compiling takes nearly all of the time here.
        jax.config.update("jax_disable_most_optimizations", True)
        yield request.param
        jax.config.update("jax_enable_x64", before[0])
        jax.config.update("jax_default_matmul_precision", before[1])
        jax.config.update("jax_disable_most_optimizations", False)


types = pytest.mark.parametrize("dtype", ["float64", "float32"])


def trained(name: str, dtype: str, outputs: int = 1, comm=None, columns=slice(None), **settings):
    p = rows(7, outputs, 60, 4, dtype=np.dtype(dtype).type, comm=comm, columns=columns)
    common = {"patterns": 7, "beta": 0.2, "rho": 0.5, "scale_rows": True}
    return convex.trained(p, STEPS, **common, backend=name, dtype=dtype, **settings)


def state_of(s) -> dict:
    numpy = s.system.backend.numpy
    return {name: np.array(numpy(getattr(s, name)), np.float64) for name in ("u", "v", "lam", "s", "nu")}


@types
@pytest.mark.parametrize(("solver", "outputs"), [*((solver, 3) for solver in SOLVERS), ("exact", 1)])
def test_every_solver_makes_the_steps_of_numpy(library, solver, outputs, dtype):
    settings = {**SOLVERS[solver], "outputs": outputs, "adapt_rho": True, "check_every": 3}
    if dtype == "float64":
        # To the end: an iteration more or less of conjugate gradients would show.
        settings["inner_tolerance"] = 1e-11
    expected_method, expected = trained("numpy", dtype, **settings)
    method, s = trained(library, dtype, **settings)
    limit = 1e-9 if dtype == "float64" else 1e-3
    other = state_of(expected)
    assert np.abs(other["v"]).max() > 0.01
    for name, found in state_of(s).items():
        assert found.shape == other[name].shape
        assert np.linalg.norm(found - other[name]) <= limit * max(1e-3, np.linalg.norm(other[name])), name
    assert str(s.u.dtype).endswith(dtype)
    assert s.system.rho == expected.system.rho
    for mine, theirs in zip(method.weights(s), expected_method.weights(expected), strict=True):
        assert mine.dtype == np.dtype(dtype)
        # Roots of lengths: what is wrong with a small block weighs more.
        np.testing.assert_allclose(mine, theirs, atol=10 * limit)
    residuals = expected_method.residuals(expected)
    found = method.residuals(s)
    assert set(found) == set(residuals)
    assert found["objective"] == pytest.approx(residuals["objective"], rel=10 * limit)
    p = s.problem
    np.testing.assert_array_equal(method.own_labels(s, p.a0), expected_method.own_labels(expected, p.a0))


@pytest.mark.parametrize("solver", ["convex-cg", "jacobi-pcg", "nystrom-pcg", "block-pcg", "rbcd"])
def test_ranks_may_compute_with_any_library(library, solver):
    settings = {"solver": solver, "inner_tolerance": 1e-11}

    def work(comm, columns):
        return state_of(trained(library, "float64", comm=comm, columns=columns, **settings)[1])

    whole, parts = state_of(trained("numpy", "float64", **settings)[1]), on_parts([0, 23, 60], work)
    for part in parts:
        np.testing.assert_allclose(part["u"], whole["u"], atol=1e-8)
        np.testing.assert_array_equal(part["v"], parts[0]["v"])


@types
@pytest.mark.parametrize("library", ["numpy", "torch", "jax"], indirect=True)
@pytest.mark.parametrize(("side", "columns"), [(1, 1), (5, 3), (8, 5)])
def test_factors_and_triangular_solves(library, dtype, side, columns):
    found = backend(library, "cpu", dtype)
    generator = np.random.default_rng(0)
    R = generator.standard_normal((side, side + 4)).astype(dtype)
    A, B = (R @ R.T + 0.1 * np.eye(side)).astype(dtype), generator.standard_normal((side, columns)).astype(dtype)
    L = found.cholesky(found.array(A.copy()))
    limit = 1e-10 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(np.tril(found.numpy(L)), np.linalg.cholesky(A), atol=limit)
    expected, there = np.linalg.solve(np.linalg.cholesky(A), B), found.array(B.copy())
    np.testing.assert_allclose(found.numpy(found.solve_lower(L, there)), expected, atol=limit)
    np.testing.assert_allclose(A @ found.numpy(found.solve(L, there)), B, atol=limit * 10)
    np.testing.assert_array_equal(found.numpy(there), B)
    for second in (-1.0, 0.0, np.nan):
        with pytest.raises(Diverged, match="positive definite"):
            found.cholesky(found.array(np.diag([1.0, second, 1.0])))


@types
def test_arrays_go_there_and_back(library, dtype):
    found = backend(library, "cpu", dtype)
    values = np.arange(6.0).reshape(2, 3).T
    values.flags.writeable = False
    there = found.array(values)
    assert tuple(there.shape) == (3, 2)
    assert str(there.dtype).endswith(dtype)
    np.testing.assert_array_equal(found.numpy(found.sync(there)), values)
    assert found.numpy(there).dtype == np.dtype(dtype)
    assert found.numpy(found.array(np.array([True, False]))).tolist() == [1.0, 0.0]
    assert (found.name, found.device) == (library, "cpu")


def test_torch_computes_with_the_threads_of_the_run():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        for threads in (2, 1):
            backend("torch", "cpu", "float32", threads)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


# -- several devices


def test_rows_over_several_devices_of_jax_make_the_steps_of_numpy():
    pytest.importorskip("jax")
    script = Path(__file__).parents[1] / "support" / "several_devices.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    refusal = found.pop("refusal")
    assert refusal.startswith(
        "devices: 5, but JAX sees 4 here; XLA_FLAGS=--xla_force_host_platform_device_count=N"
    )
    assert len(found) == 4
    for name, case in found.items():
        for what in ("u", "v", "s", "nu", "residuals", "resumed"):
            assert case[what] < 1e-8, (name, what)
        assert case["accuracy"][0] == case["accuracy"][1]
        assert case["rows"] == [[16, 16, 16, 16]] * 3
        assert case["replicated"]


def test_several_devices_are_for_jax_and_rows_in_memory():
    for library in ("numpy", "torch"):
        ((key, message),) = ConvexAdmm.check(ConvexAdmmSettings(backend=library, devices=2), 2)
        assert key == "devices"
        assert message == f"backend: {library} takes one; use backend: jax, or devices: 1"
    one = ConvexAdmmSettings(backend="jax", devices=2, device="cuda:1")
    assert ConvexAdmm.check(one, 2) == [("devices", "device: cuda:1 is one; use device: cuda, or devices: 1")]
    several = ConvexAdmmSettings(backend="jax", devices=2, solver="block-pcg")
    assert ConvexAdmm.check(several, 2) == []
    assert ConvexAdmm.keeps_rows(several) == (
        "needs its rows in memory with devices: 2; set data.stream: false, or devices: 1"
    )
    # Runs of one device have the names that they had.
    assert "devices" not in ConvexAdmmSettings().plain()
    assert several.plain()["devices"] == 2


# -- what is missing


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_a_library_that_is_missing_is_named_with_its_cure(name, monkeypatch):
    def missing(module, package=None):
        if module.split(".")[0] == name:
            raise ModuleNotFoundError(f"No module named {module!r}")
        return importlib.__import__(module)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingExtra) as refusal:
        backend(name, "cpu", "float32")
    assert f"backend: {name} needs the package {name}" in str(refusal.value)
    assert f"pip install 'admmctl[{name}]'" in str(refusal.value)
    with pytest.raises(MissingExtra, match="pip install"):
        ConvexAdmm.require(ConvexAdmmSettings(backend=name))
    ConvexAdmm.require(ConvexAdmmSettings())


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_the_cure_is_an_extra_of_the_package(name):
    # Not the installed package's: the checkout's own.
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert name in project["optional-dependencies"]


def test_a_device_that_is_missing_is_named_with_its_cure(library):
    if library == "torch":
        import torch

        if torch.cuda.is_available():
            pytest.skip("here is a CUDA device")
    else:
        import jax

        if jax.default_backend() == "gpu":
            pytest.skip("here is a CUDA device")
    for device in ("cuda", "cuda:1"):
        with pytest.raises(MissingExtra, match=f"device: {device}, but .* here; use device: cpu"):
            backend(library, device, "float32")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda0", "CPU", ""])
def test_other_devices_than_the_processor_and_cuda_are_unknown(device):
    with pytest.raises(ValidationError, match=r"expected cpu, cuda or cuda:N"):
        ConvexAdmmSettings(backend="torch", device=device)


def test_a_device_of_several_is_named_by_its_number(monkeypatch):
    cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    for device in ("cuda", "cuda:0", "cuda:1"):
        torch_for(device)
    with pytest.raises(MissingExtra, match=r"no such device here; valid: cpu, cuda:0, cuda:1"):
        torch_for("cuda:2")


def test_numpy_runs_on_the_processor():
    with pytest.raises(UserError, match="numpy runs on the processor"):
        backend("numpy", "cuda", "float32")
    assert [key for key, _ in ConvexAdmm.check(ConvexAdmmSettings(device="cuda"), 2)] == ["device"]
    assert ConvexAdmm.check(ConvexAdmmSettings(), 2) == []
    assert ConvexAdmm.check(ConvexAdmmSettings(device="cuda", backend="torch"), 2) == []
    assert ConvexAdmm.check(ConvexAdmmSettings(device="cuda", backend="jax"), 2) == []


def test_numpy_needs_no_other_library(monkeypatch):
    monkeypatch.setattr(importlib, "import_module", lambda name, package=None: 1 / 0)
    assert backend("numpy", "cpu", "float32").name == "numpy"
