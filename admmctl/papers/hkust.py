"""The HKUST report on ADMM for neural networks: two digits of MNIST, against gradient descent."""

from dataclasses import replace

from admmctl.papers.claims import Claim
from admmctl.papers.draw import curves
from admmctl.papers.entry import Entry, Paper, Quick, Reported
from admmctl.papers.measures import FINAL_ACCURACY, ITERATIONS
from admmctl.report.figures import View

PAPER = Paper("HKUST report", "HKUST")


# All our methods stop at an accuracy of 0.9947: their final accuracy is chosen, and is no result.
_OTHER_GOAL = ("another goal", False)
_STEPS = ("about 60 to a loss of 0.5, gradient descent about 1,500", "HKUST report, section 4")
ITERATIONS_REPORTED = (
    Reported(ITERATIONS, "admm", 60, *_STEPS, None, *_OTHER_GOAL),
    Reported(ITERATIONS, "gd", 1500, *_STEPS, None, *_OTHER_GOAL),
)
ACCURACY_REPORTED = (
    Reported(FINAL_ACCURACY, "admm", 99.0619, "0.9906", "HKUST report, section 3.2", 10_000, *_OTHER_GOAL),
    Reported(FINAL_ACCURACY, "gd", 99.4747, "0.9947", "HKUST report, section 3.2", 10_000, *_OTHER_GOAL),
)
LOSS = Entry(
    "hkust-loss",
    PAPER,
    "section 4",
    "MNIST 0/1: the loss of ADMM and gradient descent",
    curves("loss-iterations", View("train_loss", "iterations")),
    config="mnist01",
    methods=("admm", "gd"),
    quick=Quick("1 repeat"),
    differs="mean squared error by our definition, stopped at the report's best accuracy, 0.9947",
    reported=ITERATIONS_REPORTED,
)
ACCURACY = replace(
    LOSS,
    name="hkust-accuracy",
    number="section 3.2",
    shows="MNIST 0/1: test accuracy of ADMM and gradient descent",
    drawing=curves("accuracy-iterations", View(against="iterations")),
    reported=(*ACCURACY_REPORTED, *ITERATIONS_REPORTED),
)
ENTRIES = (LOSS, ACCURACY)

CLAIMS: tuple[Claim, ...] = ()
