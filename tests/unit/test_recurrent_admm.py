"""Taylor's splitting of recurrent networks: every update against brute force, sums over samples and steps."""

import numpy as np
import pytest
from support.methods import after, standing
from support.problems import smallest_cost
from support.ranks import CountingComm
from support.recurrent import ACTIVATIONS, recurrent

from admmctl.methods.taylor.algorithm import Admm
from admmctl.methods.taylor.penalties import SHARE
from admmctl.methods.taylor.settings import AdmmSettings

BETA, GAMMA = [0.7, 1.5], [3.0]


def admm(**settings) -> Admm:
    return Admm(AdmmSettings(**{"beta": BETA, "gamma": GAMMA, "ridge": 0.05, **settings}))


def ridge_fit(targets, inputs, ridge):
    """min over W of ||targets - W inputs||^2 + ridge mean(diag inputs inputs') ||W||^2."""
    root = np.sqrt(ridge * np.square(inputs).sum() / len(inputs))
    A = np.hstack([inputs, root * np.eye(len(inputs))])
    b = np.hstack([targets, np.zeros((len(targets), len(inputs)))])
    return np.linalg.lstsq(A.T, b.T, rcond=None)[0].T


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("before", [0, 2])
def test_every_update_is_the_minimum_over_its_variable(activation, bias, before):
    p = recurrent(activation=activation, bias=bias, outputs=3)
    s, method, h = after(admm(), p, before), admm(), ACTIVATIONS[activation]
    z, V = {l: z_l.copy() for l, z_l in s.z.items()}, [standing(s, l) for l in range(5)]
    for l in range(4):  # what enters beside the activations stays
        np.testing.assert_array_equal(V[l][5:8], p.a0[3 * l : 3 * l + 3])
    assert not V[0][:5].any()
    s = method.step(s)
    # W: over samples and steps
    expected = ridge_fit(np.hstack([z[t] for t in range(1, 5)]), np.hstack(V[:4]), 0.05)
    np.testing.assert_allclose(s.W[1], expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(s.W[2], ridge_fit(z[5], V[4], 0.05), rtol=1e-7, atol=1e-9)
    assert sorted(s.W) == [1, 2]
    for t in range(1, 5):
        # z_t, with the new W and the a before
        m, a = s.W[1] @ V[t - 1], V[t][:5]

        def cost(x, m=m, a=a):
            return 3.0 * (a.ravel() - h(x)) ** 2 + 0.7 * (x - m.ravel()) ** 2

        points = np.stack([m.ravel(), a.ravel(), np.zeros(m.size), np.ones(m.size)])
        assert (cost(s.z[t].ravel()) <= smallest_cost(cost, points) + 1e-5).all()
        # a_t, with the new W and z; the outputs are those of O
        W, beta = (s.W[1], 0.7) if t < 4 else (s.W[2], 1.5)
        above = W[:, 5:] @ V[t][5:]
        A = np.vstack([np.sqrt(3.0) * np.eye(5), np.sqrt(beta) * W[:, :5]])
        b = np.vstack([np.sqrt(3.0) * h(s.z[t]), np.sqrt(beta) * (s.target(t + 1) - above)])
        np.testing.assert_allclose(standing(s, t)[:5], np.linalg.lstsq(A, b, rcond=None)[0], rtol=1e-7, atol=1e-9)


def test_the_gain_is_the_same_at_all_steps_but_the_last():
    s = after(admm(), recurrent(outputs=3), 1)
    V = s.gains()
    assert V[1] is V[2] is V[3]
    assert V[1].shape == (5, 5)
    assert V[4].shape == (5, 3)


def test_sums_are_reduced_once_an_iteration():
    comm = CountingComm()
    method = admm()
    s = method.init(recurrent(comm=comm))
    comm.verbs.clear()
    for _ in range(3):
        s = method.step(s)
    grams, rows = 8 * (9 * 10 // 2 + 6 * 7 // 2), 8 * (5 * 9 + 6)
    assert comm.verbs == [("reduce", grams), ("reduce_scatter", rows), ("allgather", rows)] * 3


def test_automatic_penalties_are_the_same_at_all_steps():
    method = Admm(AdmmSettings(penalties="automatic", beta=2.0))
    s = after(method, recurrent(outputs=3), 2)
    of_U, of_O = np.square(s.W[1][:, :5]).sum() / 5, np.square(s.W[2][:, :5]).sum() / 3
    assert s.gamma_of(4) == pytest.approx(SHARE * of_O * 2.0)
    assert s.beta_of(5) == 2.0
    assert [s.beta_of(t) for t in range(1, 5)] == pytest.approx([s.gamma_of(4)] * 4)
    assert [s.gamma_of(t) for t in range(1, 4)] == pytest.approx([SHARE * of_U * s.gamma_of(4)] * 3)
