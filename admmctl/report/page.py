"""``admmctl report``: one HTML file with the papers' numbers beside ours, all figures and all runs.

The page loads nothing: images, style and script are inside it, and its own policy forbids everything else.
"""

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from admmctl import __version__
from admmctl.errors import UserError
from admmctl.files import STDOUT, atomic
from admmctl.report import experiments, gallery, style, svg
from admmctl.report.html import Html, join, tag
from admmctl.report.output import write
from admmctl.report.sidecar import Figure, LeftOut, read_figures
from admmctl.report.text import count
from admmctl.runs.places import root
from admmctl.runs.recorded import Recorded

FOOTER = f"Written by admmctl {__version__} from the records of runs. Nothing in it is loaded from elsewhere."
NOTHING = (
    "there is nothing to report: no runs and no figures in {}; "
    "start a run with: admmctl train configs/swissroll.yaml, or draw figures with: admmctl figures --all"
)


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
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        with atomic(page, "wb") as file:
            file.write(content)
    except OSError as error:
        raise UserError(f"{page} cannot be written: {error.strerror}; name another place: --output") from None


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
    head = (
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"admmctl report: {_what(runs, figures)}"),
        tag("style", Html(sheet)),
    )
    parts = _parts(runs, figures, page)
    links = (tag("li", tag("a", place.capitalize(), href=f"#{place}")) for place, _, _ in parts)
    body = (
        tag("a", "Skip to the content", href="#content", class_="skip"),
        tag("nav", tag("ul", *links), tag("div", id="tools"), aria_label="Parts of the report"),
        tag("header", *_header(runs, figures, now or datetime.now().astimezone())),
        tag("main", *(_part(*part) for part in parts), _left_out(left_out), id="content"),
        tag("footer", tag("p", FOOTER)),
        tag("script", Html(script)),
    )
    page_ = tag("html", tag("head", join(head, "\n")), tag("body", join(body, "\n")), lang="en")
    return f"<!doctype html>\n{page_}\n"


def _hash(content: str) -> str:
    """What a policy names an inline style or script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")


def _what(runs: list[Recorded], figures: list[Figure]) -> str:
    many = len(experiments.by_name(runs))
    words = [f"{count(len(runs), 'run')} of {count(many, 'experiment')}"] if runs else []
    return " and ".join([*words, *([count(len(figures), "figure")] if figures else [])])


def _header(runs: list[Recorded], figures: list[Figure], now: datetime) -> list[Html]:
    machines = sorted({machine for run in runs if (machine := run.environment.machine)})
    hosts = sorted({host for run in runs for host in run.environment.hosts})
    facts = [
        ("Contents", _what(runs, figures)),
        (count(len(machines), "machine").partition(" ")[2].capitalize(), "; ".join(machines)),
        ("Hosts" if len(hosts) > 1 else "Host", ", ".join(hosts)),
        ("Written", tag("time", f"{now:%d %B %Y, %H:%M %Z}".strip(), datetime=now.isoformat(timespec="seconds"))),
        ("By", f"admmctl {__version__}"),
    ]
    shown = (join((tag("dt", name), tag("dd", value))) for name, value in facts if value)
    return [
        tag("p", "admmctl", class_="brand"),
        tag("h1", "Training neural networks without gradient descent: what was measured"),
        tag("dl", *shown),
    ]


def _parts(runs: list[Recorded], figures: list[Figure], page: Path) -> list[tuple[str, str, Html]]:
    """The parts that there is something to say in: an id, by which links call them, a title, the content."""
    table = gallery.numbers(figures)
    parts = []
    if table is not None:
        words = tag(
            "p",
            "Where the work is the same, the ratio compares two programs on two machines. Where it is not, it is "
            "greyed and says no more than how far apart the two are.",
        )
        parts.append(("numbers", "The papers' numbers and ours", join((words, table))))
    if figures:
        parts.append(("figures", "Figures", gallery.gallery(figures, page)))
    if runs:
        groups = experiments.by_name(runs)
        sections = (experiments.section(name, members) for name, members in groups.items())
        parts.append(("experiments", "Experiments", join((experiments.overview(groups), *sections), "\n")))
    parts.append(("measuring", "How this was measured", _measuring()))
    return parts


def _part(place: str, title: str, content: Html) -> Html:
    return tag("section", tag("h2", title, id=place), content, aria_labelledby=place, class_="part")


def _measuring() -> Html:
    rules = (
        "Every time is train_s, the seconds of optimisation alone and the largest over ranks, unless it is called "
        "wall_s, which counts loading, compiling, evaluation and logging too.",
        "Seconds to a target are train_s at the first evaluation that met it, never interpolated; a run that "
        "missed counts as infinity in a median and is never dropped, medians have 95 % intervals from six repeats "
        "on, and 'slower' is said only where intervals do not overlap.",
        "The final accuracy, of the last iterate, leads; the best one is the highest on the test rows on the way, "
        "which is optimistic, and the papers' numbers are theirs, measured by them on their machines.",
    )
    return tag("ol", *(tag("li", rule) for rule in rules), class_="rules")


def _left_out(left_out: Sequence[LeftOut]) -> Html | None:
    if not left_out:
        return None
    items = (tag("li", tag("code", item.file), ": ", item.reason) for item in left_out)
    return _part("left-out", "Left out", tag("ul", *items))
