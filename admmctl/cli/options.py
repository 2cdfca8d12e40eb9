"""Options and arguments that several commands take, with their help."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from admmctl.cli import complete
from admmctl.errors import UserError
from admmctl.experiment.bundled import experiment_file
from admmctl.files import STDOUT, opened

if TYPE_CHECKING:  # commands load what they need as they run
    from admmctl.papers.entry import Scale
    from admmctl.report.figures import Against, Axis

UNITS: tuple["Against", ...] = ("seconds", "epochs", "iterations")
AXES: tuple["Axis", ...] = ("auto", "log", "linear")
SCALES: tuple["Scale", ...] = ("quick", "full")
Choice = TypeVar("Choice", bound=str)

# Sections of help pages, below the options that choose what is done.
RANKS, OUTPUT = "Ranks, threads and jobs", "Output"


def file_of(config: Path | None) -> Path | None:
    """The experiment file that a CONFIG argument means; without one there is none."""
    return None if config is None else experiment_file(config)


Config = Annotated[
    Path,
    typer.Argument(
        help="An experiment file, or the name of one that comes with admmctl: swissroll",
        metavar="CONFIG",
        autocompletion=complete.configs,
        callback=file_of,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output.", rich_help_panel=OUTPUT)
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Change a key of the file: methods.admm.ridge=1e-3. May be repeated.", metavar="KEY=VALUE"
    ),
]
Hosts = Annotated[
    str | None,
    typer.Option(
        "--hosts", help="Hosts for mpiexec and their ranks: h1:8,h2:8, or a file of them.", rich_help_panel=RANKS
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        help="How jobs start here: a file of configs/clusters, or its path or name.",
        rich_help_panel=RANKS,
    ),
]
LaunchedBy = Annotated[
    str,
    typer.Option(
        "--launcher", help="How ranks start: auto, inline, mpiexec, srun or sbatch.", rich_help_panel=RANKS
    ),
]
DryJobs = Annotated[
    bool, typer.Option("--dry-run", help="Of sbatch: print the job scripts.", rich_help_panel=OUTPUT)
]
OneMethod = Annotated[
    str | None,
    typer.Option("--method", help="A method of the file; the first by default.", autocompletion=complete.methods),
]
Oversubscribe = Annotated[
    bool,
    typer.Option("--oversubscribe", help="Allow more ranks than this machine has cores.", rich_help_panel=RANKS),
]
FigureFile = Annotated[
    Path | None,
    typer.Option("--output", help="File name; .png and .pdf are both written.", rich_help_panel=OUTPUT),
]
TableFile = Annotated[
    Path | None, typer.Option("--csv", help="Write the table there as CSV too, with all columns; - for CSV alone.")
]
RunArguments = Annotated[
    list[str] | None,
    typer.Argument(
        help="Run folders or experiment folders; all by default.", metavar="RUN", autocompletion=complete.runs
    ),
]
Slower = Annotated[
    str | None,
    typer.Option(
        "--fail-if-slower",
        help="Exit with code 1 where the new is slower for sure by more than so much: 5%.",
        metavar="PERCENT",
    ),
]
OtherMachine = Annotated[
    bool, typer.Option("--other-machine", help="Compare seconds though the old ones are of another machine.")
]
JobArguments = Annotated[
    list[str],
    typer.Argument(
        help="Job folders, their runs, experiment folders, or job numbers.",
        metavar="RUN",
        autocompletion=complete.runs,
    ),
]


def to_stdout(option: str, file: Path | None, as_json: bool) -> bool:
    """Whether a file that is asked for is standard output. Raises UserError where JSON is to be there alone."""
    if as_json and file is not None and (file == STDOUT or opened(file) == 1):
        raise UserError(f"{option} {file} and --json both write to standard output; name a file")
    return file == STDOUT


def one_of(option: str, value: str, valid: tuple[Choice, ...]) -> Choice:
    """``value`` when it is one of ``valid``. Raises UserError."""
    if value in valid:
        return valid[valid.index(value)]  # typed as one of these
    raise UserError(f"{option} {value}: valid: {', '.join(valid)}")
