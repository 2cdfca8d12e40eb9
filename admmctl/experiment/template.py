"""The experiment file that ``admmctl new`` writes: its text, with comments that say why."""

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from admmctl.errors import UserError
from admmctl.experiment.advice import Advice, Counts
from admmctl.experiment.schema import MAX_NAME, NAME, NAME_IN_WORDS

_ENOUGH = 500  # training rows from which a tenth can be held back
_MOST_CLASSES = 12  # that a comment counts one by one
_SUFFIXES = (".gz", ".csv", ".npy")


@dataclass(frozen=True)
class Wish:
    """What a user says of the data: the keys of a ``data:`` block; and what counts, on how many cores."""

    x: str
    y: str | None = None
    label: str | None = None
    x_test: str | None = None
    y_test: str | None = None
    test: float | None = None
    counts: Counts = "accuracy"
    cores: int = 1
    target: float | None = None
    method: str | None = None
    name: str | None = None

    def data(self) -> dict[str, Any]:
        """The block, without what makes no difference to which rows there are."""
        keys = ("x", "y", "label", "x_test", "y_test", "test")
        return {"name": "files", **{key: value for key in keys if (value := getattr(self, key)) is not None}}

    def experiment(self) -> str:
        """The experiment's name: the one given, or that of the file. Raises UserError."""
        name = self.name
        if name is None:
            name = Path(self.x).name
            for suffix in _SUFFIXES:
                name = name.removesuffix(suffix)
            name = re.sub("[^A-Za-z0-9._-]+", "-", name).strip("-._")[:MAX_NAME]
        if not re.fullmatch(NAME, name) or len(name) > MAX_NAME:
            raise UserError(f"--name {name}: expected {NAME_IN_WORDS}")
        return name


@dataclass(frozen=True)
class Seen:
    """What the file holds. ``classes`` counts training rows by label."""

    rows_train: int
    rows_test: int
    features: int
    classes: dict[int, int]
    constant: int
    pixels: bool
    tails: bool
    notes: list[str] = field(default_factory=list)


def text(wish: Wish, seen: Seen, advice: Advice, order: list[str]) -> str:
    """The file, with these methods in this order."""
    blocks = blocks_of(seen)
    parts = [*_head(wish, seen, advice), "", *_data(wish, seen), "", *_network(seen), ""]
    parts += ["methods:", "  # The first is what runs without --method."]
    for name in order:
        comment, settings = blocks[name]
        parts += [f"  # {line}" for line in comment]
        parts += textwrap.wrap(f"{name}: {settings}", 110, initial_indent="  ", subsequent_indent="    ")
    parts += ["", *_rest(wish, seen, order)]
    return "\n".join(parts) + "\n"


def _head(wish: Wish, seen: Seen, advice: Advice) -> Iterator[str]:
    yield f"# Made by admmctl new from {_shown(wish.x)}; every choice may be changed."
    classes = ", ".join(f"{label} ({count:,})" for label, count in list(seen.classes.items())[:_MOST_CLASSES])
    more = ", ..." if len(seen.classes) > _MOST_CLASSES else ""
    rows = f"{seen.rows_train:,} training rows, {seen.rows_test:,} test rows"
    features = "1 feature" if seen.features == 1 else f"{seen.features:,} features"
    known = f"{len(seen.classes)} classes, with their training rows: {classes}{more}"
    yield from _wrapped(f"{rows}, {features}, nothing missing; {known}")
    if seen.constant:
        yield f"# Constant features, which say nothing and do no harm: {seen.constant:,}"
    for line in seen.notes:
        yield from _wrapped(_shown(line))
    yield from _wrapped(f"What counts: {wish.counts}. Method: {advice.method}, for {advice.when}.")
    if advice.why:
        yield from _wrapped(f"Why: {advice.why} (docs/rivals.md).")
    yield f"name: {_scalar(wish.experiment())}"


def _data(wish: Wish, seen: Seen) -> Iterator[str]:
    yield "data:"
    for key, value in wish.data().items():
        comment = "   # a part of the rows, chosen by seed 0, that no training sees" if key == "test" else ""
        yield f"  {key}: {value if isinstance(value, float) else _scalar(value)}{comment}"
    if wish.test is None and wish.x_test is None:
        yield "  test: 0.2   # a fifth of the rows, chosen by seed 0, that no training sees"
    if seen.pixels:
        yield "  scale: centred   # whole numbers up to 255, as of images: divided by the largest, less their mean"
    elif seen.tails and wish.counts != "memory":
        yield "  scale: quantile   # some features have long tails: each is mapped to a normal by its quantiles"
    else:
        yield "  scale: standard   # each feature to mean 0 and deviation 1, by the training rows"
    if wish.counts == "memory":
        yield "  stream: true   # rows stay on disk, and are read in every pass"
    if seen.rows_train >= _ENOUGH:
        yield "  validation: 0.1   # of the training rows, to choose the best weights by, and in a sweep"


def _network(seen: Seen) -> Iterator[str]:
    widest = 50 if seen.rows_train < 1000 else 100 if seen.rows_train < 20_000 else 300
    layers = [widest, widest // 2] if seen.pixels else [widest]
    yield f"network: {{layers: {layers}, activation: relu}}   # hidden sizes, a guess by the rows; try others"
    yield "loss: cross-entropy   # of classes; the only one that all of these methods train"


Block = tuple[list[str], str]  # lines of comment, and the settings


def blocks_of(seen: Seen) -> dict[str, Block]:
    """What the file may have, by name."""
    rows = seen.rows_train
    batch = min(rows, max(16, min(1000, rows // 10)))
    small = min(rows, max(8, min(256, rows // 50)))
    least = max(1, min(20, rows // 100))
    patience = ", patience: 30" if rows >= _ENOUGH else ""
    # As 24 trials chose them on HIGGS; images want less of both.
    held = "" if seen.pixels else f", l2: {4.0e-4 * batch:.1e}, kl_clip: {2.0e-6 * batch:.1e}"
    noise = "" if seen.pixels else ", weight_decay: 1.0e-4, dropout: 0.1, input_noise: 0.1"
    return {
        "trees": (
            ["Boosted trees, the baseline of tables; needs pip install 'admmctl[trees]', and has no network."],
            f"{{min_rows: {least}, stop: {{epochs: null, iterations: 300{patience}}}}}",
        ),
        "graph-admm": (
            ["ADMM on mini-batches with penalties that are matrices: few, large steps, without gradients."],
            f"{{penalties: matrix, batch: {batch}{held}}}",
        ),
        "adam": (
            ["Gradients, as a rival. Its learning rate falls to 0 over these epochs."],
            f"{{learning_rate: 3.0e-3, batch: {small}, schedule: linear, schedule_epochs: 30.0, average: 0.9"
            f"{noise}}}",
        ),
        "linear": (
            ["No hidden layer: what any other has to beat, and a first look that takes no time."],
            "{weight_decay: 1.0e-4, stop: {iterations: 50}}",
        ),
    }


def _rest(wish: Wish, seen: Seen, order: list[str]) -> Iterator[str]:
    yield "stop:"
    if wish.target is None:
        yield "  # target: 0.95   # an accuracy that is enough: tables then have the seconds to it"
    else:
        yield f"  target: {wish.target}   # an accuracy that is enough; tables have the seconds to it"
    yield "  epochs: 30"
    yield "  seconds: 600   # of training; whichever comes first"
    if seen.rows_train >= _ENOUGH:
        yield "  patience: 8   # evaluations without a better accuracy on held-back rows"
    yield "evaluate: {every: 1, unit: epoch}"
    yield "seed: 0   # --repeat 6 takes this one and the five that follow: intervals take six"
    yield ""
    yield "sweep:   # admmctl sweep FILE --method NAME tries so many settings, and chooses on held-back rows"
    yield "  trials: 12"
    yield "  space:"
    spaces = {
        "trees": "{learning_rate: {low: 0.03, high: 0.3}, leaves: [7, 15, 31, 63]}",
        "graph-admm": "{l2: {low: 0.01, high: 1.0}, kl_clip: {low: 1.0e-4, high: 3.0e-2}}",
        "adam": "{learning_rate: {low: 3.0e-4, high: 1.0e-2}, weight_decay: {low: 1.0e-6, high: 1.0e-2}}",
        "linear": "{weight_decay: {low: 1.0e-6, high: 1.0e-1}}",
    }
    yield from (f"    {name}: {spaces[name]}" for name in order)


def _wrapped(text: str) -> list[str]:
    """As lines of comment."""
    return textwrap.wrap(text, 110, initial_indent="# ", subsequent_indent="# ")


def _shown(text: str) -> str:
    """In a comment: one line, whatever a file is called."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _scalar(text: str) -> str:
    """As YAML; quoted where it takes that."""
    plain = re.fullmatch(r"[A-Za-z_/.~][A-Za-z0-9_/.~-]*", text) and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)
