"""Options and arguments that several commands take, and what they say."""

from pathlib import Path
from typing import Annotated, Any

import typer

from admmctl.errors import UserError

UNITS = ("seconds", "epochs", "iterations")
AXES = ("auto", "log", "linear")
SCALES = ("quick", "full")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a key of the file. May be repeated.", metavar="KEY=VALUE"),
]
Hosts = Annotated[
    str | None, typer.Option("--hosts", help="Hosts for mpiexec and their ranks: h1:8,h2:8, or a file of them.")
]
Cluster = Annotated[
    str | None,
    typer.Option("--cluster", help="How jobs start here: a file of configs/clusters, or its path or name."),
]
LaunchedBy = Annotated[
    str, typer.Option("--launcher", help="How ranks start: auto, inline, mpiexec, srun or sbatch.")
]
OneMethod = Annotated[str | None, typer.Option("--method", help="A method of the file; the first by default.")]
FigureFile = Annotated[Path | None, typer.Option("--output", help="File name; .png and .pdf are both written.")]
RunArguments = Annotated[
    list[str] | None, typer.Argument(help="Run folders or experiment folders.", metavar="RUN...")
]
JobArguments = Annotated[
    list[str],
    typer.Argument(help="Job folders, their runs, experiment folders, or job numbers.", metavar="RUN..."),
]


def one_of(option: str, word: str, valid: tuple[str, ...]) -> Any:
    """``word`` when it is one of ``valid``; raises UserError."""
    if word not in valid:
        raise UserError(f"{option} {word}: valid: {', '.join(valid)}")
    return word
