"""CG and L-BFGS: SciPy's solvers step by step, in a thread that never outlives its run."""

import threading

import numpy as np
import pytest
from scipy.optimize import minimize
from support.methods import flat
from support.problems import Array, problem
from support.ranks import CountingComm

import admmctl
from admmctl.errors import RunFailed
from admmctl.methods.gradient.scipy_methods import Cg, CgSettings, Lbfgs, LbfgsSettings
from admmctl.methods.method import Diverged, Finished, Problem
from admmctl.model.gradient import Gradient, flat_views, parameters
from admmctl.model.initial import gaussian_weights
from admmctl.model.network import score
from admmctl.runs.record import RunFolder

STEPS = 15


def cg(**settings) -> Cg:
    return Cg(CgSettings(**settings))


def lbfgs(**settings) -> Lbfgs:
    return Lbfgs(LbfgsSettings(**settings))


SOLVERS = {"CG": cg, "L-BFGS-B": lbfgs}
solvers = pytest.mark.parametrize("solver", list(SOLVERS))


@pytest.fixture(autouse=True)
def no_thread_is_left():
    """Every test ends with as many threads as it began with."""
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    assert not left, f"threads are left: {left}"


@pytest.fixture
def stepping():
    """Starts a method on a problem; closed with the test, as the loop does it."""
    opened = []

    def start(method, p: Problem):
        s = method.init(p)
        opened.append((method, s))
        return s

    yield start
    for method, s in opened:
        method.close(s)


def scipys_iterates(p: Problem, solver: str, steps: int, decay: float = 0.0, **options):
    """The start and every iterate of SciPy run directly on the mean loss, and its own report."""
    backprop = Gradient(p.network, p.loss, p.a0.shape[1], np.float64)
    x0 = gaussian_weights(p.network, p.seed, np.float64)
    for W_l in x0:
        if p.network.bias:
            W_l[:, -1] = 0

    def function(x):
        total = np.zeros_like(x)
        value = backprop.add(flat_views(p.network, x), p.a0, p.y, flat_views(p.network, total))
        return value / p.total + 0.5 * decay * (x @ x), total / p.total + decay * x

    iterates = [flat(x0)]
    options = {"maxiter": steps, "gtol": 0.0, **({"ftol": 0.0} if solver != "CG" else {}), **options}
    report = minimize(
        function,
        iterates[0],
        jac=True,
        method=solver,
        callback=lambda x: iterates.append(x.copy()),
        options=options,
    )
    return iterates, report


def iterates_of(method, s, steps: int) -> list[Array]:
    found = [flat(method.weights(s))]
    for _ in range(steps):
        s = method.step(s)
        found.append(flat(method.weights(s)))
    return found


def run_on(method, s, steps: int = 10_000) -> None:
    """Step until something is raised."""
    for _ in range(steps):
        s = method.step(s)


# -- the steps are SciPy's


@solvers
@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_steps_are_those_of_scipy_run_from_start_to_end(solver, loss, decay, stepping):
    p = problem([5, 4], activation="tanh", loss=loss, outputs=3)
    method = SOLVERS[solver](weight_decay=decay)
    found = iterates_of(method, stepping(method, p), STEPS)
    expected, _ = scipys_iterates(p, solver, STEPS, decay, **({"maxcor": 10} if solver != "CG" else {}))
    assert len(expected) == STEPS + 1
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    assert np.abs(found[-1] - found[0]).max() > 0.1


def test_lbfgs_remembers_as_many_pairs_as_asked(stepping):
    p = problem([5, 4], activation="tanh")
    for memory in (1, 3, 10):
        expected, _ = scipys_iterates(p, "L-BFGS-B", STEPS, maxcor=memory)
        method = lbfgs(memory=memory)
        found = iterates_of(method, stepping(method, p), STEPS)
        np.testing.assert_allclose(found[-1], expected[-1], rtol=1e-9)
    # a memory of one makes other steps than one of ten
    one, _ = scipys_iterates(p, "L-BFGS-B", STEPS, maxcor=1)
    assert np.abs(one[-1] - expected[-1]).max() > 1e-3


@solvers
def test_evaluating_between_iterations_changes_nothing(solver, stepping):
    p = problem([5, 4], activation="tanh")
    labels = p.y[0].astype(int)
    method = SOLVERS[solver]()
    undisturbed = iterates_of(method, stepping(method, p), STEPS)
    s = stepping(method, p)
    for expected in undisturbed[1:]:
        for _ in range(2):
            W = method.weights(s)
            score(p.network, W, p.loss, p.a0, p.y, labels)
            method.residuals(s)
            for W_l in W:
                W_l[...] = np.nan  # what was handed out is nobody's but the caller's
        s = method.step(s)
        np.testing.assert_array_equal(flat(method.weights(s)), expected)


@solvers
def test_an_epoch_is_a_gradient_over_all_rows(solver, stepping):
    p = problem([5, 4], activation="tanh")
    method = SOLVERS[solver]()
    s = stepping(method, p)
    assert (method.rows_seen(s), method.residuals(s)) == (0, {"gradients": 0.0})
    for _ in range(STEPS):
        s = method.step(s)
    _, report = scipys_iterates(p, solver, STEPS)
    assert method.rows_seen(s) == report.nfev * p.total
    assert method.residuals(s) == {"gradients": float(report.nfev)}
    assert p.comm.lengths == [parameters(p.network) + 1] * report.nfev  # loss and gradient in one Allreduce


# -- the end


@solvers
def test_a_solver_that_has_converged_has_finished(solver, stepping):
    p = problem([])  # linear least squares: a quadratic with one minimum
    method = SOLVERS[solver]()
    s = stepping(method, p)
    with pytest.raises(Finished, match=f"{solver} found no better point") as end:
        run_on(method, s)
    assert str(end.value).rpartition(": ")[2]  # SciPy's own words
    best, *_ = np.linalg.lstsq(p.a0.T, p.y.T)
    np.testing.assert_allclose(flat(method.weights(s)), best.ravel(), rtol=1e-5, atol=1e-7)
    assert not s.thread.is_alive()
    method.close(s)


def test_a_solver_that_starts_at_the_minimum_has_finished_without_a_step(stepping):
    p = problem([], samples=30)
    best, *_ = np.linalg.lstsq(p.a0.T, p.y.T)
    method = lbfgs()
    s = stepping(method, p)
    s.x = best.ravel()
    p.y[...] = (best.T @ p.a0)[...]  # so that the loss at the start is nothing at all
    with pytest.raises(Finished):
        method.step(s)


# -- the thread


@solvers
def test_closing_ends_the_thread(solver):
    method = SOLVERS[solver]()
    s = method.init(problem([5]))
    assert s.thread is None or not s.thread.is_alive()  # nothing runs before the first step
    s = method.step(method.step(s))
    assert s.thread.is_alive()
    gradients = s.gradients
    method.close(s)
    assert not s.thread.is_alive()
    assert s.gradients == gradients  # it did not go on to do a last step
    method.close(s)  # a second time is no harm


def test_closing_what_never_started_is_no_harm():
    method = lbfgs()
    method.close(method.init(problem([5])))


class Failing(CountingComm):
    """Its Allreduce fails the n-th time."""

    def __init__(self, nth: int, failure: BaseException):
        super().__init__()
        self.nth, self.failure = nth, failure

    def allreduce(self, buffer, op="sum"):
        super().allreduce(buffer, op)
        if len(self.lengths) == self.nth:
            raise self.failure


@solvers
@pytest.mark.parametrize("nth", [1, 4])
@pytest.mark.parametrize("failure", [OSError("the network is gone"), KeyboardInterrupt(), MemoryError()])
def test_what_breaks_in_the_objective_comes_out_of_the_step(solver, nth, failure, stepping):
    p = problem([5, 4], comm=Failing(nth, failure))
    method = SOLVERS[solver]()
    s = stepping(method, p)
    with pytest.raises(type(failure)) as caught:
        run_on(method, s, 10)
    assert caught.value is failure
    assert not s.thread.is_alive()


@solvers
@pytest.mark.parametrize("where", ["a0", "y"])
def test_a_nan_in_the_data_is_divergence(solver, where, stepping):
    p = problem([5], activation="tanh")
    getattr(p, where)[0, 3] = np.nan
    method = SOLVERS[solver]()
    s = stepping(method, p)
    with pytest.raises(Diverged, match="the training loss is nan after 1 gradients"):
        method.step(s)


@pytest.mark.filterwarnings("ignore")
def test_a_loss_beyond_floating_point_is_divergence(stepping):
    p = problem([5, 4], dtype=np.float32)
    p.a0[...] *= 1e30
    method = lbfgs()
    s = stepping(method, p)
    with pytest.raises(Diverged):
        run_on(method, s, 10)


EXPERIMENT = {
    "name": "batch",
    "data": {"name": "swissroll", "rows": 200},
    "network": {"layers": [5]},
    "loss": "squared",
    "methods": {"lbfgs": {}, "cg": {}},
    "stop": {"iterations": 4},
}


@pytest.mark.parametrize("method", ["lbfgs", "cg"])
def test_a_run_leaves_no_thread(method, results):
    (summary,) = admmctl.train(EXPERIMENT, method=method)
    assert (summary["status"], summary["iterations"]) == ("exhausted", 4)


@pytest.mark.parametrize("method", ["lbfgs", "cg"])
def test_a_run_that_breaks_leaves_no_thread(method, results, monkeypatch):
    append = RunFolder.append

    def failing(self, evaluation):
        if evaluation.iteration == 2:
            raise OSError("the disk is full")
        append(self, evaluation)

    monkeypatch.setattr(RunFolder, "append", failing)
    with pytest.raises(RunFailed, match="the disk is full"):
        admmctl.train(EXPERIMENT, method=method)


def test_a_run_that_converges_says_so(results):
    experiment = {**EXPERIMENT, "network": {"layers": []}, "stop": {"iterations": 10_000}}
    (summary,) = admmctl.train(experiment, method="lbfgs")
    assert summary["status"] == "exhausted"
    assert summary["iterations"] < 10_000
    assert summary["reason"].startswith("L-BFGS-B found no better point")
