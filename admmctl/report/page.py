"""``admmctl report``: one HTML file with the papers' numbers beside ours, all figures and all runs.

The page loads nothing: images, style and script are inside it, and its own policy forbids everything else.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from admmctl import __version__
from admmctl.errors import UserError
from admmctl.files import STDOUT, atomic
from admmctl.report import experiments, gallery, style, svg
from admmctl.report.html import Table, render
from admmctl.report.output import writable, write
from admmctl.report.sidecar import Figure, LeftOut, read_figures
from admmctl.report.text import count
from admmctl.runs.places import root
from admmctl.runs.recorded import Recorded

NOTHING = (
    "there is nothing to report: no runs and no figures in {}; "
    "start a run with: admmctl train configs/swissroll.yaml, or draw figures with: admmctl figures --all"
)


@dataclass(frozen=True)
class Page:
    """What ``templates/page.html`` shows. The parts that there is nothing to say in are empty."""

    version: str
    what: str
    now: datetime
    policy: str
    sheet: str
    script: str
    machines: list[str]
    hosts: list[str]
    numbers: Table | None
    papers: dict[str, list[gallery.Card]]
    overview: Table | None
    experiments: list[experiments.Experiment]
    left_out: Sequence[LeftOut]


def report(
    runs: list[Recorded], chosen: bool, output: Path | None = None, damaged: Sequence[LeftOut] = ()
) -> dict[str, Any]:
    """Write the page on these runs, and on the figures in the results folder: ``report.html`` there by default.

    ``output`` may be '-', standard output. ``chosen``: the runs were named, so that only figures drawn from them
    belong to it. ``damaged``: the runs that are not among these. Returns the path, what is in it and what was left
    out. Raises UserError when there is nothing to write about, or nowhere to write to.
    """
    if output != STDOUT:
        style.check_output(output, "the name of a file, for instance report.html, or -")
    page = output or root() / "report.html"
    figures, unread = read_figures(root() / "figures")
    left_out = [*damaged, *unread]
    if chosen:
        figures = [figure for figure in figures if figure.about([run.folder for run in runs])]
    if not runs and not figures:
        files = "".join(f"\n  left out: {item.file}: {item.reason}" for item in left_out)
        raise UserError(NOTHING.format(root()) + files)
    content = document(runs, figures, left_out, page).encode("utf-8")
    _write(page, content)
    return {
        "report": str(page),
        "bytes": len(content),
        "runs": len(runs),
        "experiments": len(experiments.by_name(runs)),
        "figures": len(figures),
        "left_out": [{"file": item.file, "reason": item.reason} for item in left_out],
    }


def _write(page: Path, content: bytes) -> None:
    if page == STDOUT:
        write(content.decode("utf-8"))
        return
    with writable(page):
        page.parent.mkdir(parents=True, exist_ok=True)
        with atomic(page, "wb") as file:
            file.write(content)


def document(
    runs: list[Recorded],
    figures: list[Figure],
    left_out: Sequence[LeftOut],
    page: Path,
    now: datetime | None = None,
) -> str:
    """The whole page. ``now``: the time in its heading."""
    files = resources.files("admmctl.report")
    sheet = (
        (files / "page.css").read_text(encoding="utf-8") + svg.colour_rules(list(map(style.kind_of, runs))) + "\n"
    )
    script = (files / "page.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(sheet)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    groups = experiments.by_name(runs)
    shown = Page(
        version=__version__,
        what=_what(runs, figures),
        now=now or datetime.now().astimezone(),
        policy=policy,
        sheet=sheet,
        script=script,
        machines=sorted({machine for run in runs if (machine := run.environment.machine)}),
        hosts=sorted({host for run in runs for host in run.environment.hosts}),
        numbers=gallery.numbers(figures),
        papers=gallery.gallery(figures, page),
        overview=experiments.overview(groups),
        experiments=[experiments.section(name, members) for name, members in groups.items()],
        left_out=left_out,
    )
    return render("page.html", page=shown)


def _hash(content: str) -> str:
    """What a policy names an inline style or script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")


def _what(runs: list[Recorded], figures: list[Figure]) -> str:
    many = len(experiments.by_name(runs))
    words = [f"{count(len(runs), 'run')} of {count(many, 'experiment')}"] if runs else []
    return " and ".join([*words, *([count(len(figures), "figure")] if figures else [])])
