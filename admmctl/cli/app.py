"""The application that the commands are part of, its end, and its exit codes."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from admmctl import __version__
from admmctl.errors import AdmmctlError, Interrupted, UserError
from admmctl.report.output import put

app = typer.Typer(
    name="admmctl",
    help="Train neural networks without gradient descent: ADMM methods, on a laptop or on many MPI ranks.",
    epilog="Start with: admmctl train configs/swissroll.yaml",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs_app = typer.Typer(no_args_is_help=True, help="List and show finished runs.", rich_markup_mode=None)
app.add_typer(runs_app, name="runs")
datasets_app = typer.Typer(help="List datasets, or show one.", rich_markup_mode=None)
app.add_typer(datasets_app, name="datasets")

CTRL_C = 130  # what typer makes of a KeyboardInterrupt


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        put(f"admmctl {__version__}")
        raise typer.Exit


def main(arguments: Iterable[str] | None = None) -> None:
    """The ``admmctl`` command: errors are one message on standard error and an exit code, no traceback."""
    try:
        run_command(arguments)
    except SystemExit as end:
        if "ADMMCTL_JOB" in os.environ:  # whoever waits for this job reads it
            from admmctl.runs.jobs import ended

            ended(end.code if isinstance(end.code, int) else 0)
        raise


def run_command(arguments: Iterable[str] | None) -> NoReturn:
    """One command, ended by SystemExit."""
    try:
        code = app(args=None if arguments is None else list(arguments), standalone_mode=False)
    except AdmmctlError as error:
        stop(f"error: {error}", error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        stop("interrupted", Interrupted.exit_code)
    except Exception as error:
        # Wrong usage, in typer's own words: it knows how to show itself.
        if not hasattr(error, "show"):
            raise
        error.show()
        sys.exit(getattr(error, "exit_code", UserError.exit_code))
    if code == CTRL_C:
        stop("interrupted", Interrupted.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def note(text: str) -> None:
    """A line for people, beside the results; one that nobody reads any more is dropped."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def stop(message: str, code: int) -> NoReturn:
    """End the command with a message on standard error; one that nobody reads any more is dropped."""
    with suppress(OSError):
        print(message, file=sys.stderr, flush=True)
    sys.exit(code)
