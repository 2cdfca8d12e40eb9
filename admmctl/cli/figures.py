"""Commands that draw: accuracy-plot, target-plot, figures."""

from pathlib import Path
from typing import Annotated

import typer

from admmctl.cli.app import app, left_out, note
from admmctl.cli.options import (
    AXES,
    OUTPUT,
    RANKS,
    SCALES,
    UNITS,
    Cluster,
    FigureFile,
    Hosts,
    Json,
    LaunchedBy,
    RunArguments,
    one_of,
)
from admmctl.cli.train import queue
from admmctl.errors import RunFailed, UserError
from admmctl.report.output import put, put_json


@app.command("accuracy-plot")
def accuracy_plot(
    runs: RunArguments = None,
    output: FigureFile = None,
    axis: Annotated[
        str, typer.Option("--axis", help="Time axis: log, linear, or auto (log where times spread widely).")
    ] = "auto",
    against: Annotated[
        str, typer.Option("--against", help="seconds of training, epochs or iterations.")
    ] = "seconds",
    training: Annotated[bool, typer.Option("--training", help="Draw the training accuracy too.")] = False,
    of: Annotated[
        str,
        typer.Option("--of", help="train_accuracy, train_loss or another column of curve.csv.", metavar="COLUMN"),
    ] = "test_accuracy",
    scale: Annotated[
        str,
        typer.Option(
            "--scale",
            help="Axis of the values: log, linear, or auto (log but for accuracies; high ones become errors).",
        ),
    ] = "auto",
) -> None:
    """Draw test accuracy against seconds of training, with the target. PNG and PDF.

    A line per method; over repeats the median, with a band: a 95 % interval from six repeats on, all runs
    below that.

    Examples:

      admmctl accuracy-plot results/swissroll

      admmctl accuracy-plot results/swissroll --of train_loss --against epochs
    """
    from admmctl.report.figures import View
    from admmctl.report.figures import accuracy_plot as draw
    from admmctl.runs.places import find
    from admmctl.runs.recorded import DRAWN

    unit = one_of("--against", against, UNITS)
    view = View(of, unit, one_of("--axis", axis, AXES), one_of("--scale", scale, AXES), training)
    for path in draw(find(runs, DRAWN, left_out), output, view, note):
        put(str(path))


@app.command("target-plot")
def target_plot(
    over: Annotated[str, typer.Option("--over", help="A numeric key of the method block: rho, learning_rate")],
    runs: RunArguments = None,
    unit: Annotated[str, typer.Option("--unit", help="epochs, iterations or seconds to the target.")] = "epochs",
    output: FigureFile = None,
) -> None:
    """Draw what it took to reach the target against a setting, a line per activation. PNG and PDF.

    A point per value of the setting, the median over repeats; runs that missed the target are marked as such.

    Example:

      admmctl target-plot results/mnist-graph-rates --over rho
    """
    from admmctl.report.figures import target_plot as draw
    from admmctl.runs.places import find
    from admmctl.runs.recorded import DRAWN

    for path in draw(find(runs, DRAWN, left_out), over, one_of("--unit", unit, UNITS), output, note):
        put(str(path))


@app.command()
def figures(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Figures, by the names that the list gives them.", metavar="NAME"),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Draw all of them but those whose data is not here.")
    ] = False,
    scale: Annotated[
        str,
        typer.Option(
            "--scale",
            help="quick: fewer rows, iterations and repeats, in minutes. full: as in the paper, in hours or days.",
        ),
    ] = "quick",
    only_list: Annotated[
        bool, typer.Option("--list", help="List the named figures, or all, and draw none.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="The folder for the files; results/figures by default.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="For pictures that need no runs: what is random in them.")
    ] = 0,
    mirror: Annotated[
        Path | None,
        typer.Option("--mirror", help="For the picture 'digits': a folder with SVHN's official files."),
    ] = None,
    cores: Annotated[
        int | None,
        typer.Option(
            "--cores",
            help="The most cores that a run may take; by default what a figure asks for, as far as there are.",
            rich_help_panel=RANKS,
        ),
    ] = None,
    launcher: LaunchedBy = "auto",
    hosts: Hosts = None,
    cluster: Cluster = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Run nothing: say how many runs are missing, and about how long they take. With sbatch: print "
            "the job scripts.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Draw figures and tables of the papers from runs made here.

    Without a name they are listed, with the data and the runs that each needs. With names, or --all, the runs that
    are missing are made, then each figure is drawn: NAME.png, NAME.pdf, its points as NAME.csv, and NAME.json with
    the caption, the runs, and the paper's numbers beside ours.

    Finished runs of the same settings are used again. What was interrupted goes on by the same command. Nothing is
    downloaded: with --all, figures whose data is not here are skipped, and a line says how to fetch it.

    --dry-run says beforehand how many runs are missing, and about how many minutes or hours they take.

    With --launcher sbatch each figure is a job of its own, which makes its runs and draws it.

    Examples:

      admmctl figures

      admmctl figures --all --dry-run

      admmctl figures --all

      admmctl figures activations boundary --output pictures

      admmctl figures taylor-2a taylor-2b --scale full

      admmctl figures taylor-2a --scale full --cores 256 --launcher sbatch --cluster slurm
    """
    from admmctl.launch.options import check_options
    from admmctl.papers.draw import make_folder
    from admmctl.papers.dry import forecast, forecast_table
    from admmctl.papers.entry import Request
    from admmctl.papers.listing import WIDTH, failures, figures_table, listing
    from admmctl.papers.make import Making, draw_all, prepare, without_data
    from admmctl.papers.orders import orders
    from admmctl.report.live import Live, error_console
    from admmctl.runs.events import Watcher
    from admmctl.studies.estimate import Estimator

    chosen = one_of("--scale", scale, SCALES)
    if names and everything:
        raise UserError("name figures, or ask for --all, not both")
    if only_list or not (names or everything or (dry_run and launcher != "sbatch")):
        listed = listing(names or [])
        documents = {"figures": [figure.document() for figure in listed]}
        put_json(documents) if as_json else put(figures_table(listed), narrowest=WIDTH)
        return
    if cores is not None and cores < 1:
        raise UserError(f"--cores {cores}: expected 1 or more")
    options = check_options(1, None, launcher, False, hosts, cluster)
    if launcher == "sbatch":
        making = Making(chosen, options, Watcher(), note, cores)
        queue(orders(names or [], making, output, dry_run), dry_run, as_json)
        return
    if dry_run:
        estimator = Estimator()
        expected = forecast(names or [], Making(chosen, options, Watcher(), note, cores), estimator)
        put_json(expected.document()) if as_json else put(forecast_table(expected, estimator), narrowest=WIDTH)
        return
    outcome = prepare(names or [], chosen, Request(seed, mirror), note)
    folder = make_folder(output)
    draw_all(outcome, Making(chosen, options, Live(error_console()), note, cores), folder)
    if outcome.missing:
        note(without_data(outcome.missing))
    if as_json:
        put_json(outcome.document())
    else:
        put("\n".join(path for figure in outcome.drawn for path in figure["files"]))
    if outcome.failed:
        raise RunFailed(failures(outcome.failed))
