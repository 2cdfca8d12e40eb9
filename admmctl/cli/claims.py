"""The command that gives the papers' claims their verdicts."""

from dataclasses import asdict
from typing import Annotated

import typer

from admmctl.cli.app import app, note
from admmctl.cli.options import Json
from admmctl.errors import RunFailed
from admmctl.report.output import put, put_json


@app.command()
def claims(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Papers by their short names, or claims by their ids.", metavar="PAPER"),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Make the runs that are missing first.")] = False,
    as_json: Json = False,
) -> None:
    """Say of each claim of the papers whether it holds here: holds, in part, does not hold, cannot be told here.

    A verdict is made of recorded runs of full size, never of quick ones, of too few repeats or of made-up data.
    --run says first how many runs are missing, and about how many hours they take. What was interrupted goes on by
    the same command.

    Examples:

      admmctl claims

      admmctl claims zhang --run
    """
    from admmctl.launch.options import Options
    from admmctl.papers.evidence import make_missing, missing, needed
    from admmctl.papers.make import Making
    from admmctl.papers.told import chosen, claims_list, judged
    from admmctl.report.live import Live, error_console
    from admmctl.runs.events import Watcher

    asked = chosen(names or [])
    failures: list[str] = []
    if run:
        lacking = missing(asked)
        note(needed(lacking))
        watcher: Watcher = Live(error_console())
        failures = make_missing(lacking, Making("full", Options(), watcher, note))
    found = judged(asked)
    put_json({"claims": [asdict(claim) for claim in found]}) if as_json else put(claims_list(found))
    if failures:
        raise RunFailed("\n".join(failures))
