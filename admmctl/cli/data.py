"""Commands for data: fetch, datasets."""

from pathlib import Path
from typing import Annotated

import typer

from admmctl.cli import complete
from admmctl.cli.app import app, datasets_app
from admmctl.cli.options import Json
from admmctl.errors import AdmmctlError, UserError
from admmctl.report.output import put, put_json


@app.command()
def fetch(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Datasets, for instance: mnist higgs", metavar="NAME", autocompletion=complete.datasets
        ),
    ],
    mirror: Annotated[
        str | None,
        typer.Option(help="A folder or an address prefix that has the official files; no other place is tried."),
    ] = None,
    from_files: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Files that you have already, or a folder of such.", metavar="FILE..."),
    ] = None,
    rows: Annotated[int | None, typer.Option("--rows", help="HIGGS: prepare only the first N rows.")] = None,
    extra: Annotated[
        bool, typer.Option("--extra", help="SVHN: the 531,131 extra digits too (1.3 GB to download).")
    ] = False,
    keep_raw: Annotated[bool, typer.Option("--keep-raw", help="Keep the downloaded files.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is already here.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Re-check what is here against its recorded checksums.")
    ] = False,
    ask: Annotated[
        bool, typer.Option("--check", help="Only ask every address whether it has the file, and of what size.")
    ] = False,
) -> None:
    """Download official datasets, verify them and prepare them for training.

    Datasets land in ./datasets, or in the folder that ADMMCTL_DATASETS names. An interrupted download or
    preparation goes on where it stopped.

    Examples:

      admmctl fetch mnist cifar10

      admmctl fetch higgs --from HIGGS.csv.gz --rows 1000000

      admmctl fetch higgs --check
    """
    from admmctl.data.fetch import Request, check, split_names
    from admmctl.data.fetch import fetch as fetch_one
    from admmctl.report.live import Downloads, error_console

    console = error_console()

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    names, files = split_names(names, from_files or [])
    request = Request(mirror, files, keep_raw, force, rows, extra)
    if ask:
        if verify or request != Request(mirror):
            raise UserError(
                "--check asks addresses and fetches nothing; of the other options it takes --mirror alone"
            )
        _check_addresses(names, mirror)
        return
    for name in names:
        if verify:
            check(name, say)
        else:
            with Downloads(console) as progress:
                fetch_one(name, request, say, progress)


def _check_addresses(names: list[str], mirror: str | None) -> None:
    """``fetch --check``: ask the addresses of all datasets. Raises AdmmctlError where no address has a file."""
    from admmctl.data.reach import reach

    missing = [f"{name}: no address has {file}" for name in names for file in reach(name, mirror, put)]
    if missing:
        cure = "check the network, or fetch from a copy: --mirror FOLDER (or --from FILE)"
        raise AdmmctlError("\n".join([*missing, cure]))


@datasets_app.callback(invoke_without_command=True)
def datasets_list(context: typer.Context, as_json: Json = False) -> None:
    """List the datasets: what exists, what is here, rows, features, disk used.

    Those that are computed need no fetch. A dataset whose files are not what was recorded is called damaged.

    Example:

      admmctl datasets
    """
    from admmctl.data.listing import listing
    from admmctl.report.datasets import datasets_table

    if context.invoked_subcommand is None:
        entries = listing()
        put_json({"datasets": entries}) if as_json else put(datasets_table(entries))


@datasets_app.command("show")
def datasets_show(
    name: Annotated[
        str,
        typer.Argument(help="A dataset, for instance: mnist", metavar="NAME", autocompletion=complete.datasets),
    ],
    as_json: Json = False,
) -> None:
    """Show one dataset: its files and their checksums, its licence, its citation, its label counts.

    The counts are those of the rows that are here; admmctl fetch NAME --verify computes the checksums again.

    Example:

      admmctl datasets show higgs
    """
    from admmctl.data.listing import describe
    from admmctl.report.datasets import dataset_details

    entry = describe(name)
    put_json(entry) if as_json else put(dataset_details(entry))
