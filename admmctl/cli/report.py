"""The command that writes the report."""

from pathlib import Path
from typing import Annotated

import typer

from admmctl.cli.app import app, left_out, note, reads_many
from admmctl.cli.options import Json, RunArguments, one_of, to_stdout
from admmctl.report.output import put, put_json


@app.command()
def report(
    runs: RunArguments = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="The file, or -; report.html in the results folder by default.")
    ] = None,
    browser: Annotated[
        str, typer.Option("--open", help="Show it in a web browser: auto (on a terminal), yes or no.")
    ] = "auto",
    as_json: Json = False,
) -> None:
    """Write one HTML page: verdicts on the papers' claims, all figures, their numbers beside ours, all runs.

    Without RUN all runs, and every figure in results/figures that has a description (NAME.json) beside it. With
    RUN only the claims and figures that these runs tell of. The page loads nothing.

    Examples:

      admmctl report

      admmctl report results/swissroll --output swissroll.html --open no
    """
    from admmctl.papers.told import told_or_why
    from admmctl.report.browser import show
    from admmctl.report.page import report as write
    from admmctl.report.sidecar import LeftOut
    from admmctl.runs.places import find
    from admmctl.runs.reading import CPU, CURVE, PHASES
    from admmctl.runs.recorded import COMPARED

    reads_many()
    one_of("--open", browser, ("auto", "yes", "no"))
    only_page = to_stdout("--output", output, as_json)
    damaged: list[LeftOut] = []
    reads = (*COMPARED, CURVE, PHASES, CPU)
    found = find(runs, reads, lambda file, reason: damaged.append(LeftOut(str(file), reason)))
    result = write(found, bool(runs), output, damaged, told_or_why())
    for item in result.left_out:
        left_out(item.file, item.reason)
    if only_page:
        return
    put_json(result) if as_json else put(result.report)
    page = Path(result.report)
    if page.is_file():  # a browser would wait for a pipe
        show(page, browser, note)
