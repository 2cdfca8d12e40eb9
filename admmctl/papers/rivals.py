"""A study of our own: what the methods of the ADMM family add beside rivals of today, under one clock.

No paper claims this, and no paper's number stands beside ours. Settings are those of ``configs/rivals-*.yaml``,
which say how trials choose them. A difference of accuracy counts from about one standard error of a problem's test
accuracy on.
"""

from dataclasses import dataclass

from admmctl.papers.claims import Claim, Work
from admmctl.papers.draw import curves
from admmctl.papers.entry import Drawing, Entry, Paper, Quick
from admmctl.papers.rules import AT_END, STEPS, TIME, all_of, at_least, at_most, greater, near
from admmctl.papers.several_rules import near_best, within_times_the_least
from admmctl.report.figures import View
from admmctl.report.text import count

PAPER = Paper("A study of our own: rivals of today", "Rivals", ours=True)
ADMM = ("graph-admm", "admm")
GRADIENT = ("sgd", "adam", "foof", "kfac", "muon", "lbfgs")
FAST = ("sgd-fast", "adam-fast")
LONG = ("sgd-long", "adam-long")


@dataclass(frozen=True)
class Problem:
    """A file of ``configs``, by the first part of its name: what it is, the accuracies that are timed, the least
    difference that counts, and how many repeats tell it: more where seeds differ as much.
    """

    short: str
    shows: str
    levels: tuple[float, float]
    margin: float
    methods: tuple[str, ...] = (*ADMM, *GRADIENT, "linear", "graph-backprop", "graph-fixed")
    two_classes: bool = True
    repeats: int = 6

    @property
    def config(self) -> str:
        """Its name, without .yaml; that of its figure, too."""
        return f"rivals-{self.short}"


DIGITS = Problem(
    "mnist", "ten digits of MNIST, 784-500-600-10", (0.98, 0.985), 0.001, two_classes=False, repeats=12
)
_TREES = (*Problem.methods, "trees")
HIGGS = Problem("higgs", "28,396 rows of HIGGS, 28-300-2", (0.70, 0.715), 0.005, _TREES)
ROLL = Problem("swissroll", "the Swiss roll, 3-100-50-2", (0.98, 0.99), 0.001, _TREES)
IMAGES = Problem("cifar2", "airplanes against automobiles, 3072-100-2", (0.85, 0.87), 0.01, repeats=12)
PAIR = Problem(
    "mnist49",
    "digits 4 against 9, 784-100-50-10-1",
    (0.97, 0.985),
    0.003,
    ("admm", "admm-fixed", "gd", "sgd", "linear"),
    repeats=24,
)
PROBLEMS = (DIGITS, HIGGS, ROLL, IMAGES, PAIR)
_CONDITIONS = "settings as in the file, which says when a run ends"
_SOONEST = f"settings as in the file, for this time alone; gradient methods are {', '.join(FAST)}"
_EPOCHS = "30 epochs, with noise on the inputs; settings by 7 trials each, as in the file"


# --- the figures


_VIEWS = View(), View(against="iterations", axis="log")


def _entry(
    problem: Problem,
    name: str,
    short: str,
    shows: str,
    drawing: Drawing,
    methods: tuple[str, ...],
    differs: str,
    rival: str = "sgd",
    cores: int = 1,
) -> Entry:
    """A figure of some blocks of a problem's file; small, it has the first of them and the ``rival``."""
    return Entry(
        name,
        PAPER,
        short,
        f"{problem.shows}: {shows}",
        drawing,
        config=problem.config,
        methods=methods,
        repeats=6,
        cores=(cores,),
        quick=Quick(
            "two methods, 4,000 rows, 2 s of training, 1 repeat",
            ("data.first=4000", "stop.seconds=2"),
            methods=(methods[0], rival),
            cores=(cores,),
        ),
        differs=differs,
    )


def _curves(problem: Problem) -> Entry:
    auc = (View("test_auc"),) if problem.two_classes else ()
    shows, drawing = "test accuracy by seconds and by iterations", curves(problem.config, *_VIEWS, *auc)
    return _entry(problem, problem.config, problem.short, shows, drawing, problem.methods, _CONDITIONS)


def _to_98(cores: int) -> Entry:
    name, short, methods = f"rivals-seconds-{cores}", f"seconds, {cores}", ("graph-fast", *FAST)
    shows, drawing = f"test accuracy up to 98 %, on {count(cores, 'core')}", curves("to-98", *_VIEWS)
    return _entry(DIGITS, name, short, shows, drawing, methods, _SOONEST, FAST[0], cores)


def _in_30_epochs() -> Entry:
    shows, drawing = "test accuracy in 30 epochs", curves("rivals-long", *_VIEWS)
    return _entry(DIGITS, "rivals-long", "30 epochs", shows, drawing, ("graph-long", *LONG), _EPOCHS, LONG[0])


ENTRIES = (*map(_curves, PROBLEMS), _in_30_epochs(), _to_98(1), _to_98(2))


# --- the claims

_FOUR = (DIGITS, HIGGS, ROLL, IMAGES)


def _at_end(problem: Problem, *methods: str, repeats: int = 6) -> Work:
    return Work(problem.config, methods, repeats, timed=True)


def _none_ends_higher(id: str, text: str, problem: Problem, one: str, best: str, others: tuple[str, ...]) -> Claim:
    """That no method ends higher than ``one``. That which is expected to be the ``best`` has more repeats."""
    higher = f"higher is by more than {100 * problem.margin:g} points"
    return Claim(
        id,
        PAPER,
        problem.shows.partition(",")[0],
        text,
        near_best(AT_END, one, (best, *others), problem.margin, closer=1),
        (_at_end(problem, one, best, *others), _at_end(problem, one, best, repeats=problem.repeats)),
        f"{_CONDITIONS}; the best has the highest median of 6 seeds; {higher}",
        problem.config,
    )


def _to_the_target(cores: int) -> Work:
    return Work(DIGITS.config, ("graph-fast", *FAST), cores=(cores,), timed=True)


def _as_well(id: str, text: str, pairs: dict[Problem, tuple[str, str]]) -> Claim:
    """That on every problem the first of two methods does as well as the second."""
    rules = [
        near(AT_END, *pair, problem.margin, work=place) for place, (problem, pair) in enumerate(pairs.items())
    ]
    margins = ", ".join(f"{100 * problem.margin:g} ({problem.short})" for problem in pairs)
    return Claim(
        id,
        PAPER,
        f"{len(pairs)} problems",
        text,
        all_of(*rules),
        tuple(_at_end(problem, *pair, repeats=problem.repeats) for problem, pair in pairs.items()),
        f"{_CONDITIONS}; as well is at most so many points less: {margins}",
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "rivals-seconds",
        PAPER,
        "ten digits, one core",
        "graph-admm reaches 98 % on MNIST in at most twice the seconds of the best gradient method.",
        within_times_the_least(TIME, "graph-fast", FAST, 2.0),
        (_to_the_target(1),),
        _SOONEST,
        "rivals-seconds-1",
    ),
    Claim(
        "rivals-seconds-two-cores",
        PAPER,
        "ten digits, two cores",
        "On two cores graph-admm reaches 98 % on MNIST in at most twice the seconds of the best gradient method.",
        within_times_the_least(TIME, "graph-fast", FAST, 2.0),
        (_to_the_target(2),),
        _SOONEST,
        "rivals-seconds-2",
    ),
    Claim(
        "rivals-iterations",
        PAPER,
        "ten digits",
        "graph-admm reaches 98 % on MNIST in at most 100 iterations.",
        at_most(STEPS, "graph-fast", 100),
        (Work(DIGITS.config, ("graph-fast",), timed=True),),
        "told at an evaluation, of which there are four in an epoch",
        "rivals-seconds-1",
    ),
    _none_ends_higher(
        "rivals-end",
        "No gradient method ends at a better accuracy on MNIST than graph-admm.",
        DIGITS,
        "graph-admm",
        "adam",
        tuple(method for method in GRADIENT if method != "adam"),
    ),
    Claim(
        "rivals-digits",
        PAPER,
        "ten digits",
        "graph-admm reaches 98.7 % on MNIST in 30 epochs.",
        at_least(AT_END, "graph-long", 0.987),
        (_at_end(DIGITS, "graph-long"),),
        _EPOCHS,
        "rivals-long",
    ),
    Claim(
        "rivals-long",
        PAPER,
        "ten digits",
        "sgd and adam do not end at a better accuracy than graph-admm, given as many epochs.",
        near_best(AT_END, "graph-long", LONG, DIGITS.margin),
        (_at_end(DIGITS, "graph-long", *LONG),),
        f"{_EPOCHS}; better is by more than {100 * DIGITS.margin:g} points",
        "rivals-long",
    ),
    _as_well(
        "rivals-backward",
        "The backward pass of Table 2 does as well as backpropagation with gains as large.",
        dict.fromkeys(_FOUR, ("graph-admm", "graph-backprop")),
    ),
    _as_well(
        "rivals-backprop",
        "Backpropagation, with gains as large, does as well as the backward pass of Table 2.",
        dict.fromkeys(_FOUR, ("graph-backprop", "graph-admm")),
    ),
    _as_well(
        "rivals-automatic",
        "Penalties that set themselves do as well as the best of 24 fixed ones.",
        {**dict.fromkeys(_FOUR, ("graph-admm", "graph-fixed")), PAIR: ("admm", "admm-fixed")},
    ),
    _none_ends_higher(
        "rivals-pair",
        "admm does as well as gradient descent, full batch or mini-batch, on digits 4 against 9.",
        PAIR,
        "admm",
        "sgd",
        ("gd",),
    ),
    Claim(
        "rivals-table",
        PAPER,
        "HIGGS",
        "graph-admm reaches 71.8 % on HIGGS, from 28,396 rows.",
        at_least(AT_END, "graph-admm", 0.718),
        (_at_end(HIGGS, "graph-admm"),),
        f"{_CONDITIONS}; tested on the 5,296 rows that follow",
        HIGGS.config,
    ),
    Claim(
        "rivals-trees",
        PAPER,
        "HIGGS",
        "Boosted trees end at a better accuracy on 28,396 rows of HIGGS than any network.",
        all_of(*(greater(AT_END, "trees", other) for other in (*ADMM, *GRADIENT))),
        (_at_end(HIGGS, "trees", *ADMM, *GRADIENT),),
        f"{_CONDITIONS}; tested on the 5,296 rows that follow",
        HIGGS.config,
    ),
)
