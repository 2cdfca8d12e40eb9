"""Taylor et al. 2016, "Training Neural Networks Without Gradients": SVHN and HIGGS, in seconds.

Of each dataset two figures: seconds to a target against cores, and accuracy against time. Burmeister's report
shows the same, with the same numbers.
"""

import math
from dataclasses import replace

from matplotlib.figure import Figure

from admmctl.papers.draw import curves
from admmctl.papers.entry import Drawing, Entry, Material, Measure, Paper, Quick, Reported, Rows
from admmctl.papers.measures import (
    BEST_ACCURACY,
    EFFICIENCY,
    THEIRS,
    seconds_on_most_cores,
    seconds_to_accuracy,
)
from admmctl.report import style
from admmctl.report.crossings import together_figure
from admmctl.report.figures import View
from admmctl.report.scaling import PaperPoint, seconds_figure
from admmctl.report.text import seconds
from admmctl.runs.recorded import Recorded
from admmctl.studies.crossings import compare_studies, thinned
from admmctl.studies.lines import Line
from admmctl.studies.several import TRIALS
from admmctl.studies.statistics import median
from admmctl.studies.study import Findings

PAPER = Paper("Taylor et al. 2016", "Taylor")
SVHN_ROWS, HIGGS_ROWS = 120_290, 10_500_000
_SVHN_SOURCE, _HIGGS_SOURCE = "Taylor et al. 2016, section 7.1", "Taylor et al. 2016, section 7.2"
_GPU = "theirs on a GPU"
_BATCH_LESS = tuple(f"methods.{name}.stop.iterations=20" for name in ("cg", "lbfgs", "torch-lbfgs"))
_FEW_EPOCHS = tuple(f"methods.{name}.stop.epochs=5" for name in ("sgd", "torch-sgd"))
# The paper's method, ours, and our baselines on as many ranks; the paper's baselines are on one, by PyTorch.
_METHODS, _BATCHES = ("admm-printed", "admm", "sgd", "cg", "lbfgs"), (128, 1024, 8192)
_ALONE = ("torch-sgd", "cg", "torch-lbfgs")
_CRAY = (
    "the paper ran on a Cray XC30, its baselines in Lua Torch on an NVIDIA K40: here they are those of PyTorch "
    "and, for conjugate gradients, of SciPy, on one rank, and ours on as many ranks as ADMM in lines of their own;"
    " admm-printed is the paper's method, with 10 iterations before multipliers, standardised inputs and a bias, "
    "of which the paper gives none; admm is ours, with a ridge"
)
_HOG = "HOG features are computed here, by parameters of our own"

# By the name of the dataset: seconds to the target on many cores.
POINTS = {
    "svhn-hog": PaperPoint(
        1024, 13.3, "Taylor et al. 2016: 13.3 s on 1,024 cores\n(120,290 rows, to 95 %, theirs)"
    ),
    "higgs": PaperPoint(7200, 7.8, "Taylor et al. 2016: 7.8 s on 7,200 cores\n(10.5 M rows, to 64 %, theirs)"),
}
# Seconds of the baselines to the same targets. Figure 1a and section 7.1 give different ones.
BASELINES = {
    "svhn-hog": {"lbfgs": 3.2, "cg": 9.3, "sgd": 8.2},
    "higgs": {"lbfgs": 181.0, "cg": 2640.0},
}


_DIMINISHING = (
    'no number; "diminishing returns with additional cores, until the time needed [...] actually begins to rise"',
    "Burmeister, section 3.3",
)
_SCALING_REPORTED = (
    *(
        Reported(EFFICIENCY, method, None, "no number; linear scaling", "Taylor et al. 2016, section 7")
        for method in ("admm-printed", "admm")
    ),
    *(Reported(EFFICIENCY, method, None, *_DIMINISHING) for method in ("sgd", "cg", "lbfgs")),
)


def _beside(theirs: Reported, method: str, measure: Measure | None = None, ours: bool = False) -> Reported:
    """The same number beside another method; no figure marks it again. ``ours``: a method that is other work."""
    beside = f"our settings; {theirs.beside}" if ours else theirs.beside
    found = replace(theirs, measure=replace(measure or theirs.measure, mark=None), method=method, beside=beside)
    return replace(found, comparable=theirs.comparable and not ours)


# Section 7.1 averages over ten runs. HOG features by other parameters are another task.
_95, _95_ALONE = seconds_to_accuracy(0.95, averaged=True), seconds_to_accuracy(0.95, averaged=True, ranks=1)
_64, _64_ALONE = seconds_to_accuracy(0.64), seconds_to_accuracy(0.64, ranks=1)
_SVHN, _HIGGS = (_SVHN_SOURCE, SVHN_ROWS), (_HIGGS_SOURCE, HIGGS_ROWS)
_SVHN_ADMM = Reported(
    _95, "admm-printed", 13.3, "13.3 s on 1,024 cores", *_SVHN, f"other cores; {_HOG}", comparable=False
)
_SVHN_SGD, _SVHN_CG, _SVHN_LBFGS = (
    Reported(_95, name, time, f"{time:g} s on a GPU", *_SVHN, f"{_GPU}; {_HOG}", comparable=False)
    for name, time in (("sgd", 28.3), ("cg", 10.1), ("lbfgs", 3.3))
)
_SVHN_REPORTED = (
    _SVHN_ADMM,
    _beside(_SVHN_ADMM, "admm", ours=True),
    _SVHN_SGD,
    _beside(_SVHN_SGD, "torch-sgd", _95_ALONE),
    replace(_SVHN_CG, measure=_95_ALONE),
    _SVHN_LBFGS,
    _beside(_SVHN_LBFGS, "torch-lbfgs", _95_ALONE),
)
_HIGGS_ADMM = Reported(_64, "admm-printed", 7.8, "7.8 s on 7,200 cores", *_HIGGS, "other cores")
_HIGGS_SGD = Reported(_64, "sgd", None, "never in seven hours on a GPU", *_HIGGS, _GPU)
_HIGGS_LBFGS = Reported(_64, "lbfgs", 181.0, "181 s on a GPU", *_HIGGS, _GPU)
_HIGGS_BEST = Reported(BEST_ACCURACY, "lbfgs", 75.0, "as well as 75 %", f"{_HIGGS_SOURCE}, footnote", HIGGS_ROWS)
_HIGGS_REPORTED = (
    _HIGGS_ADMM,
    _beside(_HIGGS_ADMM, "admm", ours=True),
    _HIGGS_SGD,
    _beside(_HIGGS_SGD, "torch-sgd", _64_ALONE),
    Reported(_64_ALONE, "cg", 2640.0, "44 minutes on a GPU", *_HIGGS, _GPU),
    _HIGGS_LBFGS,
    _beside(_HIGGS_LBFGS, "torch-lbfgs", _64_ALONE),
    _HIGGS_BEST,
    _beside(_HIGGS_BEST, "torch-lbfgs"),
)


def _seconds_to_target(material: Material) -> tuple[Figure, Rows]:
    """Seconds against cores, of all methods here; the paper's: of ADMM on many cores, of the others on a GPU.

    A method that ran on one rank beside the studies is a dashed line.
    """
    studies = material.studies
    point, theirs = POINTS.get(studies[0].data), BASELINES.get(studies[0].data, {})
    compared, _ = compare_studies(studies)
    if compared:
        figure, lines = together_figure(*compared[0], point), thinned(compared[0][0]).lines
    else:  # nobody has met the target
        figure, lines = seconds_figure(studies[0], point), []
    axes = figure.axes[0]
    for method, time in theirs.items():
        label = f"{method}, {THEIRS}: {time:,g} s on a GPU"
        axes.axhline(time, color=style.look(method)[0], linewidth=1, linestyle=(0, (1, 1)), label=label)
    for study in studies:
        if not any(math.isfinite(time) for point in study.points for time in point.seconds):
            axes.plot([], [], linestyle="", marker="x", color=style.BLACK, label=f"{study.method}, here: never")
    alone = _alone(material)
    for row in alone:
        color, time = style.look(row["method"])[0], row["median_s"]
        if math.isfinite(time):
            label = f"{row['method']}, here on one rank: {seconds(time)} s"
            axes.axhline(time, color=color, linewidth=1, linestyle="--", label=label)
        else:
            axes.plot([], [], color=color, linestyle="", marker="x", label=f"{row['method']}, here: never")
    times = [*theirs.values(), *(row["median_s"] for row in alone if math.isfinite(row["median_s"]))]
    low, high = axes.get_ylim()
    axes.set_ylim(
        min([low, *(time / 2 for time in times if time > 0)]), max([high, *(2 * time for time in times)])
    )
    axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.16), fontsize=7.5)
    return figure, [*_measured(studies), *_modelled(lines), *alone]


def _alone(material: Material) -> Rows:
    """Of every method on one rank beside the studies: the median of its seconds to the target."""
    runs: dict[str, list[Recorded]] = {}
    for run in map(Recorded, material.alone):
        runs.setdefault(run.method, []).append(run)
    times = {method: [_to_target(run) for run in found] for method, found in runs.items()}
    return [
        {"source": "ours, alone", "method": method, "cores": 1, "median_s": median(each).value, "clock": "train_s"}
        for method, each in times.items()
    ]


def _to_target(run: Recorded) -> float:
    """Seconds; infinity for a miss."""
    time = run.number("time_to_target_s")
    return math.inf if time is None else time


def _measured(studies: list[Findings]) -> Rows:
    return [
        {
            "source": "ours",
            "method": study.method,
            "batch": study.batch,
            "cores": point.cores,
            "seconds": time,
            "median_s": point.median_s,
            "clock": "processor time, shared cores" if point.shared else "train_s",
        }
        for study in studies
        for point in study.points
        for time in point.seconds
    ]


def _modelled(lines: list[Line]) -> Rows:
    """What the cost models say, as far as they go."""
    return [
        {
            "source": "model",
            "method": line.method,
            "batch": line.batch[place],
            "cores": cores,
            "seconds": line.seconds[place],
            "low": line.low[place],
            "high": line.high[place],
        }
        for line in lines
        for place, cores in enumerate(line.cores)
        if cores <= line.known_cores
    ]


SVHN_SECONDS = Entry(
    "taylor-1a",
    PAPER,
    "Figure 1a",
    "SVHN: seconds to 95 % against cores",
    Drawing("seconds-to-target", _seconds_to_target, source="scaling"),
    config="svhn",
    methods=_METHODS,
    repeats=10,
    cores=(64, 128, 256, 512, 1024, 2496),
    batches=_BATCHES,
    trials=TRIALS,
    alone=_ALONE,
    quick=Quick(
        "6,000 official rows, no extra ones, 20 iterations or 5 epochs, 1 and 2 cores, 2 repeats, no trials",
        ("data.use=train", "data.first=6000", "stop.iterations=20", *_FEW_EPOCHS, *_BATCH_LESS),
        repeats=2,
        cores=(1, 2),
    ),
    differs=f"{_CRAY}; {_HOG}",
    reported=(
        replace(_SVHN_ADMM, measure=seconds_on_most_cores(0.95)),
        _beside(_SVHN_ADMM, "admm", seconds_on_most_cores(0.95), ours=True),
        *_SCALING_REPORTED,
    ),
)
SVHN_ACCURACY = replace(
    SVHN_SECONDS,
    name="taylor-1b",
    number="Figure 1b",
    shows="SVHN: test accuracy against time, with baselines",
    drawing=curves("accuracy", View()),
    cores=(2496,),
    quick=Quick(
        "6,000 official rows, no extra ones, 20 iterations or 5 epochs, 1 core, 1 repeat",
        SVHN_SECONDS.quick.changes,
    ),
    reported=_SVHN_REPORTED,
)
HIGGS_SECONDS = replace(
    SVHN_SECONDS,
    name="taylor-2a",
    number="Figure 2a",
    shows="HIGGS: seconds to 64 % against cores",
    config="higgs",
    cores=(900, 1800, 3600, 7200),
    changes=("stop.target=0.64",),
    quick=Quick(
        "10,000 rows, 20 iterations or 5 epochs, 1 and 2 cores, 2 repeats, no trials",
        ("data.first=10000", "stop.iterations=20", *_FEW_EPOCHS, *_BATCH_LESS),
        repeats=2,
        cores=(1, 2),
    ),
    differs=_CRAY,
    reported=(
        replace(_HIGGS_ADMM, measure=seconds_on_most_cores(0.64)),
        _beside(_HIGGS_ADMM, "admm", seconds_on_most_cores(0.64), ours=True),
        *_SCALING_REPORTED,
    ),
)
HIGGS_ACCURACY = replace(
    SVHN_ACCURACY,
    name="taylor-2b",
    number="Figure 2b",
    shows="HIGGS: test accuracy against time, with baselines",
    config="higgs",
    cores=(7200,),
    quick=Quick(
        "10,000 rows, 20 iterations or 5 epochs, 1 core, 1 repeat",
        HIGGS_SECONDS.quick.changes,
    ),
    differs=_CRAY,
    reported=_HIGGS_REPORTED,
)
ENTRIES = (SVHN_SECONDS, SVHN_ACCURACY, HIGGS_SECONDS, HIGGS_ACCURACY)
