"""What ``admmctl configs`` tells: the experiments that have a name, what each is about, and what it needs."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from admmctl.data.catalog import datasets
from admmctl.data.fetch import line_for
from admmctl.errors import MissingData, UserError
from admmctl.experiment import bundled
from admmctl.experiment import config as configuration
from admmctl.methods.method import methods

State = Literal["here", "absent", "computed"]

_END = re.compile(r"(?<!\bal)[.?](?=\s|$)")  # of a sentence, which "et al." does not end


@dataclass(frozen=True)
class Listed:
    """An experiment. ``about`` is the first sentence of its file.

    ``data`` is its dataset, ``fetch`` the command that brings this where it is "absent". ``extras`` are the extras
    of admmctl that some methods need, with the names of these methods. ``problem`` says why the file, or its data,
    cannot be used.
    """

    name: str
    file: str
    about: str
    data: str | None = None
    data_state: State | None = None
    fetch: str | None = None
    extras: dict[str, list[str]] = field(default_factory=dict)
    problem: str | None = None


def listing() -> list[Listed]:
    """All experiments that a name alone means, by name: those of ./configs, and those that came with admmctl."""
    return [_listed(name, file) for name in bundled.names() if (file := bundled.find(name)) is not None]


def _listed(name: str, file: Path) -> Listed:
    """An experiment, or why it is none: a file of the user's own must not hide the others."""
    about = ""
    try:
        about = first_sentence(file.read_text(encoding="utf-8"))
        runs = configuration.load(file).runs
    except (UserError, OSError, UnicodeDecodeError) as problem:
        return Listed(name, str(file), about, problem=str(problem))
    extras: dict[str, list[str]] = {}
    for method, run in runs.items():
        extra = methods.load(run.kind).extra(run.settings)
        if extra is not None:
            extras.setdefault(extra, []).append(method)
    settings = next(iter(runs.values())).data
    listed = Listed(name, str(file), about, settings.name, "here", extras=extras)
    try:
        dataset = datasets.load(settings.name)()
        dataset.open(settings)
    except MissingData as missing:
        return replace(listed, data_state="absent", fetch=line_for([missing]))
    except UserError as problem:
        return replace(listed, data_state=None, problem=str(problem))
    return listed if dataset.card.files or settings.name == "files" else replace(listed, data_state="computed")


def first_sentence(text: str) -> str:
    """The first sentence of the comment that a file begins with; '' where there is none."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    comment = " ".join(" ".join(lines).split())
    end = _END.search(comment)
    return comment if end is None else comment[: end.end()]
