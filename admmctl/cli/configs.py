"""Commands about the experiment files that come with admmctl: init, configs."""

from pathlib import Path
from typing import Annotated

import typer

from admmctl.cli.app import app, note
from admmctl.cli.options import Json
from admmctl.report.output import put, put_json


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(help="The folder that gets a folder configs; this one by default.", metavar="DIR")
    ] = Path(),
    as_json: Json = False,
) -> None:
    """Write the experiment files and clusters that come with admmctl to ./configs, to be read and changed.

    A file that is there stays as it is. Those that differ from what would be written are named. Where
    configs/NAME.yaml is here, NAME alone means it; elsewhere NAME is the file that came with admmctl.

    Examples:

      admmctl init

      admmctl init study
    """
    from admmctl.experiment.bundled import write
    from admmctl.report.configs import written_text

    files = write(folder)
    if as_json:
        put_json({"files": files})
    else:
        put(written_text(files))
    note("see: admmctl configs; start with: admmctl train swissroll")


@app.command()
def configs(as_json: Json = False) -> None:
    """List the experiments that have a name: what each needs, and what it is about.

    They are the files of ./configs, and others that came with admmctl. A dataset that is not here is named by the
    command that fetches it, an extra of admmctl (pip install 'admmctl[torch]') by the methods that need it.

    Examples:

      admmctl configs

      admmctl configs --json
    """
    from admmctl.experiment.listing import listing
    from admmctl.report.configs import configs_table

    listed = listing()
    put_json({"configs": listed}) if as_json else put(configs_table(listed))
