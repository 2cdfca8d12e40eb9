"""``admmctl report``: one HTML file with the papers' claims, all figures and runs, their numbers beside ours.

The page loads nothing: images, style and script are inside it, and its own policy forbids everything else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from admmctl import __version__
from admmctl.errors import UserError
from admmctl.files import STDOUT, atomic
from admmctl.report import experiments, gallery, style
from admmctl.report.claims import Claims, part, told_from
from admmctl.report.html import Inside, Table, render
from admmctl.report.output import writable, write
from admmctl.report.sidecar import Figure, LeftOut, read_figures
from admmctl.report.text import count
from admmctl.report.verdict import Judged
from admmctl.runs.places import root
from admmctl.runs.recorded import Recorded

NOTHING = (
    "there is nothing to report: no runs and no figures in {}; "
    "start a run with: admmctl train swissroll, or draw figures with: admmctl figures --all"
)


@dataclass(frozen=True)
class Page:
    """What ``templates/page.html`` shows. A part without content is left out of the page."""

    version: str
    what: str
    now: datetime
    inside: Inside
    machines: list[str]
    hosts: list[str]
    claims: Claims | str | None  # or why there are none
    own_claims: Claims | None  # of a study of our own, not of a paper
    numbers: Table | None
    papers: dict[str, list[gallery.Card]]
    overview: Table | None
    experiments: list[experiments.Experiment]
    left_out: Sequence[LeftOut]


@dataclass(frozen=True)
class Written:
    """A page that was written: its path and size, how much is in it, and what is not.

    ``disturbed`` are the folders of its runs whose cores other work took.
    """

    report: str
    bytes: int
    runs: int
    experiments: int
    figures: int
    left_out: list[LeftOut]
    disturbed: list[str]


def report(
    runs: list[Recorded],
    chosen: bool,
    output: Path | None = None,
    damaged: Sequence[LeftOut] = (),
    claims: Sequence[Judged] | str = (),
) -> Written:
    """Write the page on these runs, and on the figures in the results folder: ``report.html`` there by default.

    ``output`` may be '-', standard output. ``chosen``: a user named the runs; only figures drawn from them, and
    claims told from them, are in the page. ``damaged``: files of other runs, which cannot be read. ``claims``:
    those with verdicts, or why there are none. Raises UserError when there are neither runs nor figures, and when
    the page cannot be written.
    """
    if output != STDOUT:
        style.check_output(output, "the name of a file, for instance report.html, or -")
    page = output or root() / "report.html"
    figures, unread = read_figures(root() / "figures")
    left_out = [*damaged, *unread]
    if chosen:
        folders = [run.folder for run in runs]
        figures = [figure for figure in figures if figure.about(folders)]
        claims = () if isinstance(claims, str) else told_from(claims, folders)
    if not runs and not figures:
        files = "".join(f"\n  left out: {item.file}: {item.reason}" for item in left_out)
        raise UserError(NOTHING.format(root()) + files)
    content = document(runs, figures, left_out, page, claims=claims).encode("utf-8")
    _write(page, content)
    disturbed = [str(run.folder) for run in runs if run.disturbed]
    sections = len(experiments.by_name(runs))
    return Written(str(page), len(content), len(runs), sections, len(figures), left_out, disturbed)


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
    claims: Sequence[Judged] | str = (),
) -> str:
    """The whole page. ``now``: the time in its heading."""
    inside = Inside.of(list(map(style.kind_of, runs)))
    groups = experiments.by_name(runs)
    shown = Page(
        version=__version__,
        what=_what(runs, figures),
        now=now or datetime.now().astimezone(),
        inside=inside,
        machines=sorted({machine for run in runs if (machine := run.environment.machine)}),
        hosts=sorted({host for run in runs for host in run.environment.hosts}),
        claims=claims if isinstance(claims, str) else part([each for each in claims if not each.ours], figures),
        own_claims=None if isinstance(claims, str) else part([each for each in claims if each.ours], figures),
        numbers=gallery.numbers(figures),
        papers=gallery.gallery(figures, page),
        overview=experiments.overview(groups),
        experiments=[experiments.section(name, members) for name, members in groups.items()],
        left_out=left_out,
    )
    return render("page.html", page=shown)


def _what(runs: list[Recorded], figures: list[Figure]) -> str:
    parts = []
    if runs:
        parts.append(f"{count(len(runs), 'run')} of {count(len(experiments.by_name(runs)), 'experiment')}")
    if figures:
        parts.append(count(len(figures), "figure"))
    return " and ".join(parts)
