"""The claims of Feng, Shah and Abraham."""

from dataclasses import replace

from admmctl.papers.claims import Claim, Work
from admmctl.papers.convex_rules import (
    ACCURACY,
    EACH,
    GAINED,
    LEFT,
    LOSS,
    NONE,
    OPTIMALITY,
    PRECOMPUTED,
    SCATTER,
    TEST_LOSS,
    TO_97,
    Of,
    below,
    best,
    conditions,
    exact_within,
    more_iterations,
    timed,
    varies_less,
)
from admmctl.papers.entry import Paper
from admmctl.papers.rules import FINAL, all_of, at_least, at_most, unable

PAPER = Paper("Feng, Shah, Abraham", "Feng")
CONDITION_CHANGES = ("methods.exact.rho=1.0e-3", "methods.exact.scale_rows=false")  # rho as in the paper's code
_NYS, _RBCD, _ADAM = "nystrom-printed", "rbcd-printed", "mlp-printed"
_ENDLESS = "stop.target=null"

# --- what they are told from

_CONDITION = Work("cifar2-convex-small", ("exact",), changes=CONDITION_CHANGES, source="condition")
_SMALL = Work(
    "cifar2-convex-small", ("cg-printed", "jacobi-printed", _NYS, _RBCD), changes=("stop.iterations=10",)
)
_SPEED = Work(  # long enough for seconds, and to tell whether other work took the cores
    "cifar2-convex-small", (_NYS, _RBCD), changes=("stop.iterations=1000", "evaluate={every: 100}"), timed=True
)
_LARGE = Work("cifar2-convex", (_NYS, _RBCD, _ADAM), changes=(_ENDLESS,), timed=True)
_EXACT = Work(
    "cifar2-convex", ("exact",), changes=(_ENDLESS, "stop.iterations=20", "evaluate={every: 10}")
)  # where they end is what counts
_WIDER = replace(_EXACT, changes=(*_EXACT.changes, "methods.exact.patterns=200"))
_LONGER = Work(
    "cifar2-convex",
    (_NYS,),
    changes=(_ENDLESS, f"methods.{_NYS}.inner_iterations=50", f"methods.{_NYS}.stop={{iterations: 8}}"),
)
_OPTIMUM = Work("cifar2-convex-small", ("exact",), changes=("stop.iterations=5000",))
_SKETCHED, _PLAIN = (
    Work(
        "cifar2-convex", ("rbcd",), changes=("stop.iterations=30", f"methods.rbcd.precondition={way}"), timed=True
    )
    for way in ("nystrom", "none")
)
# The same number of settings for both: as they are, and ten times less and more of the two that matter most.
_SETTINGS = tuple(
    Work("cifar2-convex-small", (method,), changes=changes)
    for method, settings in (
        ("exact", ("rho=0.1", "rho=10.0", "beta=0.1", "beta=10.0")),
        ("mlp", ("learning_rate=1.0e-4", "learning_rate=1.0e-2", "batch=13", "batch=1000")),
    )
    for changes in ((), *((f"methods.{method}.{setting}",) for setting in settings))
)

# --- what differs

_ROWS = "the first 1,000 rows, grey and 10 x 10: the paper does not say which; penalties of its code"
_MACHINE = (
    "on a CPU, where the paper's figure is of a GPU; 100 blocks in an iteration of RBCD, of which the paper says "
    "nothing; penalties, rate and width of its code"
)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "convex-nystrom-condition",
        PAPER,
        "section 2.4, Figure 2",
        "A Nystrom sketch of rank 100 lowers the condition number of the primal update a hundredfold (by 50 or "
        "more).",
        conditions(NONE, ("nystrom", 100), times=50),
        (_CONDITION,),
        f"{_ROWS}, in float64",
        "convex-2",
    ),
    Claim(
        "convex-jacobi-condition",
        PAPER,
        "section 3.1, Figure 2",
        "The diagonal preconditioner raises the condition number of the primal update.",
        conditions(("jacobi", None), NONE),
        (_CONDITION,),
        f"{_ROWS}; of the symmetric M^-1/2 A M^-1/2, which conjugate gradients see, and not of M^-1 A",
        "convex-2",
    ),
    Claim(
        "convex-nystrom-best",
        PAPER,
        "section 3.1, Figure 1",
        "NysPCG reaches a better loss and accuracy, in training and on the test rows, than conjugate gradients "
        "alone and with the diagonal preconditioner (after ten iterations, as in the figure).",
        all_of(*(best(each, _NYS, "cg-printed", "jacobi-printed") for each in (LOSS, ACCURACY, TEST_LOSS, FINAL))),
        (_SMALL,),
        _ROWS,
        "convex-1",
    ),
    Claim(
        "convex-rbcd-iterations",
        PAPER,
        "section 3.1",
        "RBCD takes more iterations than nysPCG to a similar test loss and accuracy, and each of them costs "
        "much less (at most half).",
        all_of(more_iterations(_RBCD, _NYS), below(EACH, Of(_RBCD, _RBCD, 1), Of(_NYS, _NYS, 1), times=2)),
        (_SMALL, _SPEED),
        f"{_ROWS}; 20 blocks in an iteration of RBCD, of which the paper says nothing; a product with A takes two "
        "matrix products here, where its code goes pattern by pattern",
        "convex-1",
    ),
    Claim(
        "convex-cholesky-memory",
        PAPER,
        "section 3.2",
        "At full size an exact solve of the primal update, by Cholesky, has to store A: over 90 GiB.",
        exact_within("exact", gib=90, side=2 * 3072 * 50),
        (_EXACT,),
        "factors of I + X'X and of a matrix of the samples, in the place of A's",
        "convex-table1",
    ),
    Claim(
        "convex-rbcd-soonest",
        PAPER,
        "Table 1",
        "RBCD has 97 % of the training rows right sooner than nysPCG and Adam (23.5 s against 39.5 s and 55.1 s).",
        best(TO_97, _RBCD, _NYS, _ADAM),
        (_LARGE,),
        _MACHINE,
        "convex-table1",
    ),
    Claim(
        "convex-tradeoff",
        PAPER,
        "section 4",
        "Of the two, RBCD has the more desirable trade-off: sooner than nysPCG at 97 %, and after two minutes a "
        "lower training loss and a higher test accuracy.",
        all_of(*(best(each, _RBCD, _NYS) for each in (TO_97, timed(LOSS), timed(FINAL)))),
        (_LARGE,),
        _MACHINE,
        "convex-3",
    ),
    Claim(
        "convex-rbcd-training",
        PAPER,
        "section 4, Figure 3",
        "RBCD comes to the best training loss and accuracy of all methods (in two minutes, as in the figure).",
        all_of(*(best(timed(each), _RBCD, _NYS, _ADAM) for each in (LOSS, ACCURACY))),
        (_LARGE,),
        _MACHINE,
        "convex-3",
    ),
    Claim(
        "convex-rbcd-generalises",
        PAPER,
        "section 4, Figure 3",
        "RBCD does not generalise as Adam does: its test accuracy stays lower.",
        best(timed(FINAL), _ADAM, _RBCD),
        (_LARGE,),
        _MACHINE,
        "convex-3",
    ),
    Claim(
        "convex-rbcd-stable",
        PAPER,
        "section 4",
        "The test accuracy of RBCD is far more stable than that of the network by Adam (it scatters at most "
        "half as much around its trend, in the later minute of two).",
        below(SCATTER, Of(_RBCD, _RBCD), Of(_ADAM, _ADAM), times=2),
        (_LARGE,),
        _MACHINE,
        "convex-3",
    ),
    Claim(
        "convex-nystrom-stalls",
        PAPER,
        "section 4, Figure 3",
        "At full size nysPCG does not get to a lower training loss, or a higher accuracy, by further iterations "
        "(5 % of the loss and half a point at most).",
        all_of(at_least(LEFT, _NYS, 0.95), at_most(GAINED, _NYS, 0.005)),
        (_LARGE,),
        _MACHINE,
        "convex-3",
    ),
    Claim(
        "convex-more-steps",
        PAPER,
        "section 4",
        "NysPCG stalls at full size because its conjugate gradients take too few steps: with five times as many "
        "its training loss ends lower, and further iterations lower it by more than 5 %.",
        all_of(below(LOSS, Of("50 steps", _NYS, 0), Of("10 steps", _NYS, 1)), at_most(LEFT, _NYS, 0.95)),
        (_LONGER, _LARGE),
        f"eight iterations of 50 steps, where its code has 10; {_MACHINE}",
        "convex-3",
    ),
    Claim(
        "convex-nystrom-setup",
        PAPER,
        "section 4",
        "NysPCG takes very long on a CPU because of its preconditioner: that takes most of the seconds to 97 %.",
        at_least(PRECOMPUTED, _NYS, 0.5),
        (_LARGE,),
        "the paper has this number of a GPU alone, 16.3 s of 39.5 s; eight columns of the sketch at a time here",
        "convex-table1",
    ),
    Claim(
        "convex-more-patterns",
        PAPER,
        "section 4",
        "More sampled patterns make the convex network generalise better: 200 instead of 50.",
        below(FINAL, Of("50 patterns", "exact", 0), Of("200 patterns", "exact", 1)),
        (_EXACT, _WIDER),
        "solved exactly, so that it is the convex problem that counts and not how far a solver got",
        "convex-3",
    ),
    Claim(
        "convex-optimum",
        PAPER,
        "sections 1 and 5",
        "ADMM trains the convex network to a global optimum: every optimality condition holds to 1e-3.",
        at_most(OPTIMALITY, "exact", 1e-3),
        (_OPTIMUM,),
        "of the problem with sampled patterns, small; solved exactly; the conditions as they follow from (5), for "
        "those that are printed never hold",
    ),
    Claim(
        "convex-robust",
        PAPER,
        "section 1",
        "ADMM is robust against the choice of hyperparameters, where backpropagation is sensitive: with rho or "
        "beta ten times less and more, its test accuracy changes less than Adam's with other rates and "
        "mini-batches.",
        varies_less("exact", range(5), "mlp", range(5, 10)),
        _SETTINGS,
        "the paper has no experiment on it; small, ADMM with exact solves",
    ),
    Claim(
        "convex-nystrom-rbcd",
        PAPER,
        "section 5",
        "A Nystrom preconditioner inside RBCD is a promising direction: with it 97 % of the training rows are "
        "right sooner than without a preconditioner.",
        below(TO_97, Of("nystrom", "rbcd", 0), Of("none", "rbcd", 1)),
        (_SKETCHED, _PLAIN),
        "in the paper it is future work; RBCD as ours, blocks of 50 patterns in turn, at most 30 iterations",
    ),
    Claim(
        "convex-gpu",
        PAPER,
        "Table 1",
        "A GPU makes RBCD eight times as fast: 97 % in 23.5 s against 185.9 s.",
        unable("a GPU: rbcd-printed-torch with device: cuda beside device: cpu"),
        figure="convex-4",
    ),
    Claim(
        "convex-jax",
        PAPER,
        "section 3.3, Table 1",
        "RBCD by JAX is significantly faster than by PyTorch: 97 % in 16.2 s against 23.5 s, both on a GPU.",
        unable("a GPU: rbcd-printed-jax and rbcd-printed-torch with device: cuda"),
        figure="convex-4",
    ),
)
