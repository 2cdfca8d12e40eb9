"""The application that the commands are part of, how it ends, and its exit codes."""

import gc
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from admmctl import __version__
from admmctl.cli import streams
from admmctl.errors import AdmmctlError, Interrupted, UserError
from admmctl.report.output import put
from admmctl.revision import version_text

ENDS = """Start with: admmctl train swissroll

\b
Results land in ./results and data in ./datasets, or in the folders that
ADMMCTL_RESULTS and ADMMCTL_DATASETS name.

\b
Exit codes:
  0  done; a run that missed its target, or diverged, is done too
  1  a run failed, or a check found an error
  2  wrong usage, experiment file or data; nothing was run
  3  interrupted, by Ctrl-C or by the system
"""

HELP: dict[str, Any] = {"context_settings": {"help_option_names": ["-h", "--help"]}, "rich_markup_mode": None}


def first_sentence(text: str) -> str:
    """The summary of a command, as a list of commands shows it."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".") + "."


def usage(argument: Any) -> str:
    """An argument as a line of usage shows it: CONFIG, [CONFIG], RUN..., [RUN...]."""
    name = (argument.metavar or argument.name) + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


class Sections(TyperCommand):
    """A command whose help shows options in sections: options that name a panel stand there, below the others."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [each for each in self.get_params(ctx) if each.param_type_name == "argument"]
        return [self.options_metavar or "", *map(usage, arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None:
                usual = "Options"
                if parameter.param_type_name == "argument":
                    usual, row = "Arguments", (usage(parameter), row[1])
                panel = getattr(parameter, "rich_help_panel", None) or usual
                sections.setdefault(panel, []).append(row)
        for name, rows in sections.items():
            if rows:
                with formatter.section(name):
                    formatter.write_dl(rows)


class Overview(TyperGroup):
    """A group whose help shows whole summaries of its commands, on two lines where one is too short."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        rows = [
            (name, first_sentence(command.help or "")) for name, command in found.items() if command is not None
        ]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


class Commands(typer.Typer):
    """Typer, with our own look of help pages."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=Overview, **HELP, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Any:
        return super().command(name, cls=Sections, **settings)


app = Commands(
    name="admmctl",
    help="Train neural networks without gradient descent: ADMM methods, on a laptop or on many MPI ranks.",
    epilog=ENDS,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
runs_app = Commands(no_args_is_help=True, help="List, show, compare, export and remove runs.")
app.add_typer(runs_app, name="runs")
datasets_app = Commands()
app.add_typer(datasets_app, name="datasets")

CTRL_C = 130  # what typer makes of a KeyboardInterrupt


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version, and the commit of a checkout, and exit.", is_eager=True
        ),
    ] = False,
) -> None:
    if version:
        put(version_text(__version__))
        raise typer.Exit


def main(arguments: Iterable[str] | None = None) -> None:
    """The ``admmctl`` command: errors are one message on standard error and an exit code, no traceback."""
    streams.prepare()
    try:
        run_command(arguments)
    except SystemExit as end:
        if "ADMMCTL_JOB" in os.environ:  # admmctl wait reads how the job's command ended
            from admmctl.runs.jobs import ended

            ended(end.code if isinstance(end.code, int) else 0)
        raise
    finally:
        gc.enable()


def reads_many() -> None:
    """For a command that reads thousands of files and ends: Python does not look for objects that hold each other.

    That took a sixth of the seconds, and found next to nothing.
    """
    gc.disable()


def run_command(arguments: Iterable[str] | None) -> NoReturn:
    """Run one command; its end is always a SystemExit."""
    try:
        code = app(args=None if arguments is None else list(arguments), standalone_mode=False)
    except AdmmctlError as error:
        if error.quiet:
            # A launcher may end all ranks at the first that fails, and another rank, which prints the error, may
            # have started later. Open MPI's does so; it ends this wait as soon as that rank has failed.
            time.sleep(10 if "OMPI_COMM_WORLD_RANK" in os.environ else 1)
            sys.exit(error.exit_code)
        stop(f"error: {error}", error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        stop("interrupted", Interrupted.exit_code)
    except Exception as error:
        # Wrong usage: typer's own exceptions know how to show themselves.
        if not hasattr(error, "show"):
            raise
        error.show()
        sys.exit(getattr(error, "exit_code", UserError.exit_code))
    if code == CTRL_C:
        stop("interrupted", Interrupted.exit_code)
    code = code if isinstance(code, int) else 0
    lost = streams.lost_results()
    if lost is not None:
        stop(f"error: standard output cannot be written: {lost}", code or AdmmctlError.exit_code)
    sys.exit(code)


def note(text: str) -> None:
    """Print a line for people on standard error; it is dropped where nobody reads that any more."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def left_out(file: Path | str, reason: str) -> None:
    """Name a damaged file whose run is left out."""
    note(f"left out: {file}: {reason}")


def stop(message: str, code: int) -> NoReturn:
    """End the command with a message on standard error."""
    note(message)
    sys.exit(code)
