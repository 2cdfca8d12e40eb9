"""``admmctl new``: from one's own data file to a checked experiment file with comments that say why."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from admmctl.data.catalog import datasets
from admmctl.data.dataset import lacking_classes, split
from admmctl.data.source import DataSettings, Part, Source
from admmctl.errors import DataError, MissingExtra, UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.advice import Advice, Case, advise
from admmctl.experiment.config import Run
from admmctl.experiment.template import Seen, Wish, blocks_of, text
from admmctl.files import atomic
from admmctl.launch.options import Options
from admmctl.methods.method import methods
from admmctl.runs.build import check_method
from admmctl.runs.dry import refusals
from admmctl.runs.places import root
from admmctl.runs.summary import Row
from admmctl.runs.train import Request

_CHUNK = 8 << 20  # numbers that are looked at together
_TAILS = 10  # standard deviations: a feature that goes further has long tails
MANY_SEEDS = 6  # from which medians have intervals
_PIXELS = 64  # features, of whole numbers from 0 to 255: fewer are no image


@dataclass(frozen=True)
class Made:
    """What ``new`` wrote, and why: ``--json`` prints it. ``next`` are command lines."""

    file: str
    method: str
    when: str
    why: str
    methods: list[str]
    seen: Seen
    notes: list[str]
    next: list[str]


def look(wish: Wish) -> Seen:
    """Read the whole file once, as training would. Raises UserError: what is wrong, where, and the cure."""
    if wish.y is None and wish.label is None:
        raise UserError(
            f"where are the labels of {wish.x}? --label first or last, for a column of a CSV, or --labels FILE"
        )
    settings = _settings(wish)
    dataset = datasets.load("files")()
    try:
        source = dataset.open(settings)
    except DataError as problem:
        if "which is no number" not in str(problem):
            raise
        cure = "give words numbers first, in pandas: table[column].astype('category').cat.codes"
        raise UserError(f"{problem}; {cure}") from None
    divided = split(dataset, settings, source)
    why, notes = lacking_classes(dataset, settings, source, divided)
    if why:
        raise UserError(f"{wish.x}: {why}")
    labels = source.labels("train", divided.train)
    classes = {int(label): int(count) for label, count in zip(*np.unique(labels, return_counts=True), strict=True)}
    return Seen(
        len(divided.train),
        len(divided.test),
        source.features,
        classes,
        *_features(source),
        notes=[*source.notes, *notes],
    )


def _settings(wish: Wish) -> DataSettings:
    """The ``data:`` block as the experiment's own check understands it."""
    whole = {
        "name": wish.experiment(),
        "data": wish.data(),
        "network": {"layers": []},
        "loss": "cross-entropy",
        "methods": {"linear": {}},
    }
    return next(iter(configuration.load(whole).runs.values())).data


def _features(source: Source) -> tuple[int, bool, bool]:
    """How many features are constant; whether rows look like images; whether some feature has long tails.

    Raises DataError at the first number that is missing, or none.
    """
    rows = source.rows("train")
    low, high = np.full(source.features, np.inf), np.full(source.features, -np.inf)
    total, squares, whole = np.zeros(source.features), np.zeros(source.features), True
    shift: Any = None
    for chunk in _chunks(source, "train"):
        found = chunk.astype(np.float64)
        shift = found[0].copy() if shift is None else shift  # so that squares keep their digits
        low, high = np.minimum(low, found.min(axis=0)), np.maximum(high, found.max(axis=0))
        whole = whole and bool((found == np.round(found)).all())
        with np.errstate(over="ignore", invalid="ignore"):
            found -= shift
            total += found.sum(axis=0)
            squares += np.square(found).sum(axis=0)
    for _ in _chunks(source, "test"):
        pass  # that they can be read is all that is asked
    with np.errstate(all="ignore"):
        mean = total / rows
        deviation = np.sqrt(np.maximum(squares / rows - np.square(mean), 0.0))
        reach = np.maximum(high - shift - mean, mean - low + shift) / deviation
    pixels = source.features >= _PIXELS and whole and float(low.min()) >= 0 and 2 < float(high.max()) <= 255
    return int((low == high).sum()), bool(pixels), bool((reach[np.isfinite(reach)] > _TAILS).any())


def _chunks(source: Source, part: Part) -> Iterator[NDArray[np.floating]]:
    """The rows of a part, (rows, features), some at a time. Raises DataError."""
    rows, step = source.rows(part), max(1, _CHUNK // source.features)
    for start in range(0, rows, step):
        numbers = range(start, min(start + step, rows))
        found = np.empty((len(numbers), source.features), source.precision)
        source.inputs(part, numbers, found)
        yield found


def make(wish: Wish, seen: Seen, options: Options) -> tuple[str, Made]:
    """The text of the experiment file, checked as ``train --dry-run`` checks it; and what there is to say of it.

    Raises UserError where the method cannot train on this data here.
    """
    case = Case(wish.counts, seen.rows_train, seen.pixels, wish.cores, _has_trees())
    advice = advise(case)
    blocks = blocks_of(seen)
    if wish.method is not None:
        if wish.method not in blocks:
            raise UserError(f"--method {wish.method}: valid: {', '.join(blocks)}")
        advice = Advice(wish.method, "you named it", "", lambda case: True)
    order = [advice.method, *(name for name in blocks if name != advice.method)]
    runs = configuration.load(_parsed(text(wish, seen, advice, order))).runs
    stopped = refusals(runs.values(), options)
    if stopped[advice.method]:
        raise UserError("\n".join(stopped[advice.method]))
    notes = []
    for name in order[1:]:
        if not stopped[name]:
            continue
        if _lacks_extra(runs[name]):  # it stays: --method all leaves it out, by name
            notes.append(f"{name}: {stopped[name][0]}")
        else:
            order.remove(name)
            notes.append(f"{name} is left out: {stopped[name][0]}")
    content = text(wish, seen, advice, order)
    configuration.load(_parsed(content))
    return content, Made("", advice.method, advice.when, advice.why, order, seen, [*seen.notes, *notes], [])


def _lacks_extra(run: Run) -> bool:
    try:
        check_method(run, 1)
    except MissingExtra:
        return True
    return False


def write(content: str, made: Made, file: Path, force: bool, wish: Wish) -> Made:
    """Put the file down, whole or not at all. Raises UserError where one is there, unless ``force``."""
    check_free(file, force)
    try:
        with atomic(file) as out:
            out.write(content)
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror}; name another place: --output") from None
    config = shlex.quote(str(file))
    cores = f" --cores {wish.cores}" if wish.cores > 1 else ""
    lines = [f"admmctl train {config}{cores}", f"admmctl train {config}{cores} --method all --repeat 6"]
    return replace(made, file=str(file), next=lines)


def check_free(file: Path, force: bool) -> None:
    """Raises UserError where the file is there already, and where it cannot be an experiment file."""
    if file.suffix not in (".yaml", ".yml"):
        raise UserError(f"--output {file}: expected a name that ends in .yaml")
    if (file.exists() or file.is_symlink()) and not force:
        raise UserError(f"{file} is there already; name another: --output or --name; or replace it: --force")


def _has_trees() -> bool:
    try:
        trees = methods.load("trees")
        trees.require(trees.Settings())
    except MissingExtra:
        return False
    return True


def _parsed(text: str) -> dict[str, Any]:
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


def next_steps(request: Request, runs: Sequence[Row]) -> list[str]:
    """What to try after training on data of one's own: two lines. None after other data."""
    experiment = configuration.load(request.config, request.overrides)
    every = list(experiment.runs.values())
    if experiment.path is None or not runs or every[0].data.name != "files":
        return []
    changes = [part for change in request.overrides for part in ("--set", change)]
    ranks = ["--cores", str(request.options.cores)] if request.options.cores > 1 else []
    again = shlex.join(["admmctl", "train", str(experiment.path), *ranks, *changes])
    ran, seeds = {run["method"] for run in runs}, {run["seed"] for run in runs}
    if request.method != "all" and len(every) > len(ran):
        first = f"all methods of the file, six seeds each: {again} --method all --repeat 6"
    elif len(seeds) < MANY_SEEDS:
        first = f"six seeds, for intervals: {again} --method all --repeat 6"
    else:
        first = (
            f"which is best, for sure: {shlex.join(['admmctl', 'runs', 'compare', str(root() / experiment.name)])}"
        )
    best = max(runs, key=lambda run: run["final_test_accuracy"] or 0.0)
    rows = "NEW.npy" if str(getattr(every[0].data, "x", "")).endswith(".npy") else "NEW.csv"
    line = shlex.join(["admmctl", "predict", str(best["folder"]), "--input", rows])
    return [f"try next: {first}", f"classify new rows: {line}"]
