"""Commands for finished runs: predict, runs list, show, compare, history, phases, export, remove."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from admmctl.cli import complete
from admmctl.cli.app import app, left_out, note, reads_many, runs_app
from admmctl.cli.options import OUTPUT, Json, OtherMachine, RunArguments, Slower, TableFile, to_stdout
from admmctl.errors import AdmmctlError, UserError
from admmctl.files import STDOUT
from admmctl.report.output import put, put_csv, put_json

CONVEX = "cifar2-convex"  # the experiment of the convex paper's Table 1
NO_RUNS = "no runs yet; start one with: admmctl train swissroll"


@app.command()
def predict(
    run: Annotated[str, typer.Argument(help="A run folder.", metavar="RUN", autocompletion=complete.runs)],
    inputs: Annotated[Path, typer.Option("--input", help="Rows to classify: X.npy, X.csv or X.csv.gz, unscaled.")],
    output: Annotated[
        Path | None, typer.Option("--output", help="Write the CSV there, not to standard output.")
    ] = None,
    iterate: Annotated[
        str, typer.Option("--iterate", help="best (lowest training loss) or final weights.")
    ] = "best",
    gated: Annotated[
        bool, typer.Option("--gated", help="Of convex-admm: the convex model, not the ReLU network made of it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Classify rows with the weights that a run saved: a label and the network's outputs for each row.

    A line per row and a column per feature, unscaled: the run's own scaling is applied. A first line without any
    number is a heading. Rows with a NaN, an infinity or too large a number are an error. The answer is CSV, on
    standard output or in a file.

    Example:

      admmctl predict results/mnist01/admm-p1-s0-1a2b3c4d --input digits.npy
    """
    from admmctl.report.tables import only_run
    from admmctl.runs.places import find
    from admmctl.runs.predict import predict_rows, predictions_csv

    to_stdout("--output", output, as_json)
    result = predict_rows(only_run(find([run]), run), inputs, iterate, gated, note)
    if output is not None or not as_json:
        predictions_csv(result, output)
    if as_json:
        put_json(result)


@runs_app.callback()
def _runs() -> None:
    reads_many()


@runs_app.command("list")
def runs_list(runs: RunArguments = None, as_json: Json = False) -> None:
    """List runs: status, accuracy, seconds, iterations.

    Of all experiments, or of those that are named; jobs that have not made a run yet are listed too. Seconds with
    a ! are of a run that was disturbed: other work took its cores.

    Example:

      admmctl runs list results/swissroll
    """
    from admmctl.report.tables import runs_table
    from admmctl.runs import jobs
    from admmctl.runs.reading import SUMMARY_FILE

    handed = jobs.find(runs)
    recorded = jobs.runs_beside(handed, runs, (SUMMARY_FILE,), left_out)
    found = jobs.listed([run.row for run in recorded], handed)
    if as_json:
        put_json({"runs": found})
    elif found:
        put(runs_table(found))
    else:
        put(NO_RUNS)


@runs_app.command("show")
def runs_show(runs: RunArguments = None, as_json: Json = False) -> None:
    """Show everything about runs: summary, seconds by phase, the curve.

    Of a long curve some rows are shown; curve.csv in the run's folder has them all. The rerun line does the run
    again.

    Example:

      admmctl runs show results/swissroll
    """
    from admmctl.report.tables import confusion_table, curve_table, phases_table, run_details
    from admmctl.runs.places import find
    from admmctl.runs.recorded import EVERYTHING

    found = find(runs, EVERYTHING, left_out)
    if as_json:
        put_json({"runs": [run.row for run in found]})
        return
    if not found:
        put(NO_RUNS)
    for run in found:
        put(run_details(run), confusion_table(run), phases_table(run), curve_table(run))


@runs_app.command("compare")
def runs_compare(
    runs: RunArguments = None,
    slower: Slower = None,
    other_machine: OtherMachine = False,
    csv: TableFile = None,
    as_json: Json = False,
) -> None:
    """Compare methods over their repeats: medians with intervals, reached k of n, and a verdict.

    From six repeats on there are 95 % intervals, and a method is called faster only where they do not overlap. A
    run that missed its target counts as infinitely slow. No verdict is made of runs that were disturbed.

    With --fail-if-slower two folders are compared: first the OLD runs, then the NEW ones. The exit code is 1 where
    a method of NEW is slower for sure by more than that, and 0 where it is not, or where it cannot be told.

    Examples:

      admmctl runs compare results/mnist01

      admmctl runs compare old/mnist01 results/mnist01 --fail-if-slower 5%
    """
    from admmctl.report.compare import compare, compare_rows, compare_table
    from admmctl.runs.places import find
    from admmctl.runs.recorded import COMPARED

    only_csv = to_stdout("--csv", csv, as_json)
    if slower is not None:
        hold_against(runs or [], slower, other_machine, csv, as_json)
        return
    if other_machine:
        raise UserError("--other-machine goes with --fail-if-slower")
    result = compare(find(runs, COMPARED, left_out))
    if csv is not None:
        put_csv(csv, compare_rows(result))
    if not only_csv:
        put_json(result) if as_json else put(compare_table(result))


def hold_against(names: list[str], slower: str, other_machine: bool, csv: Path | None, as_json: bool) -> None:
    """``runs compare OLD NEW --fail-if-slower``; ends the command with exit code 1 where something is slower."""
    from admmctl.report.gate import gate, gate_rows, gate_table, outcome
    from admmctl.runs.places import find
    from admmctl.runs.recorded import COMPARED
    from admmctl.studies.gate import margin_of

    margin = margin_of(slower, "--fail-if-slower")
    if len(names) != 2:
        raise UserError(f"--fail-if-slower compares two folders of runs, OLD and NEW; got {len(names)}")
    old, new = (find([name], COMPARED, left_out) for name in names)
    result = gate(old, new, margin, other_machine)
    if csv is not None:
        put_csv(csv, gate_rows(result))
    if csv != STDOUT:
        put_json(result) if as_json else put(gate_table(result))
    if as_json or csv == STDOUT:
        note(outcome(result))
    if result.failed:
        raise typer.Exit(AdmmctlError.exit_code)


@runs_app.command("history")
def runs_history(
    runs: RunArguments = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="File name; .png, .pdf and .html are all written.", rich_help_panel=OUTPUT),
    ] = None,
    csv: TableFile = None,
    as_json: Json = False,
) -> None:
    """Show an experiment over commits and machines: seconds and accuracy, a table, a figure and a page.

    Runs of one method, machine and commit are medians with intervals, commits stand in the order of time. Runs
    whose files were changed after the commit are marked. The figure and the page are written beside the runs,
    as history.png, history.pdf and history.html.

    Example:

      admmctl runs history results/mnist01
    """
    from admmctl.report.figures import beside
    from admmctl.report.history import history, history_rows, history_tables
    from admmctl.report.history_page import write_history
    from admmctl.revision import commits
    from admmctl.runs.places import find
    from admmctl.runs.recorded import COMPARED

    only_csv = to_stdout("--csv", csv, as_json)
    found = find(runs, COMPARED, left_out)
    result = history(found, commits)
    files = write_history(result, output or beside(found) / "history", any(run.made_up for run in found))
    if csv is not None:
        put_csv(csv, history_rows(result))
    if only_csv:
        return
    if as_json:
        put_json({**vars(result), "files": [str(file) for file in files]})
    else:
        put(history_tables(result), "\n".join(["", *map(str, files)]))


@runs_app.command("phases")
def runs_phases(
    runs: RunArguments = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Show the convex paper's Table 1, too; cifar2-convex always does.")
    ] = False,
    csv: TableFile = None,
    as_json: Json = False,
) -> None:
    """Show where the seconds to the target went: by method and phase, medians over repeats.

    A phase is what a method says it is doing: products, solves, messages to other ranks. Loading and evaluation
    are not part of training, and left out.

    Example:

      admmctl runs phases results/cifar2-convex
    """
    from admmctl.report.phases import phase_rows, phases, phases_table
    from admmctl.runs.places import find
    from admmctl.runs.reading import PHASES
    from admmctl.runs.recorded import COMPARED

    only_csv = to_stdout("--csv", csv, as_json)
    result = phases(find(runs, (*COMPARED, PHASES), left_out))
    if paper or result.experiment == CONVEX:
        from admmctl.papers.convex import TABLE

        result = replace(result, paper=TABLE)
    if csv is not None:
        put_csv(csv, phase_rows(result))
    if not only_csv:
        put_json(result) if as_json else put(phases_table(result))


@runs_app.command("export")
def runs_export(
    form: Annotated[str, typer.Option("--format", help="csv, parquet, tensorboard or mlflow.", metavar="FORMAT")],
    output: Annotated[Path, typer.Option("--output", help="The folder to write to; made when it is not there.")],
    runs: RunArguments = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files of the same names that no export wrote.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write runs in a format that other programs read.

    Unfinished runs come with what they have. csv and parquet are two tables: runs, a row each with its summary,
    settings and machine; and curves, a row per evaluation. tensorboard is a folder of event files per run, for:
    tensorboard --logdir PLACE. mlflow is a store of MLflow in PLACE/mlflow.db, for:
    mlflow ui --backend-store-uri sqlite:///PLACE/mlflow.db. Runs that are in it stay; stop mlflow ui before
    you export again. parquet, tensorboard and mlflow need the extra of that name.

    Examples:

      admmctl runs export results/mnist01 --format csv --output tables

      admmctl runs export --format tensorboard --output logs
    """
    from admmctl.report.export.writing import export
    from admmctl.report.live import error_console, measuring
    from admmctl.runs.places import find
    from admmctl.runs.reading import CURVE
    from admmctl.runs.recorded import COMPARED

    found = find(runs, (*COMPARED, CURVE), left_out)
    with measuring(error_console()) as say:
        result = export(found, form, output, force, lambda done, total: say(f"{done} of {total} runs written"))
    put_json(result) if as_json else put(f"{len(result['runs'])} runs in {output}")


@runs_app.command("remove")
def runs_remove(
    runs: Annotated[
        list[str],
        typer.Argument(help="Run folders or study folders.", metavar="RUN", autocompletion=complete.runs),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; needed where there is no terminal.")] = False,
    as_json: Json = False,
) -> None:
    """Remove runs and studies for good, after a question.

    What is at work, or is no run, is refused, and links are not followed. Figures beside the runs stay.

    Examples:

      admmctl runs remove results/mnist01/admm-p1-s0-1a2b3c4d

      admmctl runs remove results/swissroll/* --yes
    """
    from admmctl.report.text import count, size
    from admmctl.runs.remove import plan, remove

    planned = plan(runs)
    for removal in planned:
        inside = f", {count(len(removal.runs), 'run')}" if removal.kind == "study" else ""
        note(f"{removal.kind} {removal.folder}: {size(removal.size)}{inside}")
    whole = f"{count(len(planned), 'folder')}, {size(sum(removal.size for removal in planned))}"
    if not yes and not confirmed(f"remove {whole}?"):
        planned, whole = [], "nothing"
    remove(planned)
    rows = [{"folder": str(removal.folder), "kind": removal.kind, "bytes": removal.size} for removal in planned]
    put_json({"removed": rows}) if as_json else put(f"removed {whole}")


def confirmed(question: str) -> bool:
    """Whether a person at the terminal says yes. Raises UserError where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UserError(f"{question} there is no terminal to ask at; add --yes")
    return typer.confirm(question, err=True)
