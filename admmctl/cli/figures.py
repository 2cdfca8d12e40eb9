"""Commands that draw: accuracy-plot, target-plot, figures."""

from pathlib import Path
from typing import Annotated, Any

import typer

from admmctl.cli.app import app, note
from admmctl.cli.options import AXES, UNITS, FigureFile, Json, RunArguments, one_of
from admmctl.errors import UserError
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
        str, typer.Option("--scale", help="Axis of the values: log, linear, or auto (log but for accuracies).")
    ] = "auto",
) -> None:
    """Draw test accuracy against seconds of training, with the target. PNG and PDF.

    A line per method; over repeats the median, with a band: a 95 % interval from six repeats on, all runs
    below that.

    Examples:

      admmctl accuracy-plot results/swissroll

      admmctl accuracy-plot results/swissroll --of train_loss --against epochs
    """
    from admmctl.report.figures import accuracy_plot as draw
    from admmctl.runs.record import find

    one_of("--axis", axis, AXES)
    one_of("--against", against, UNITS)
    one_of("--scale", scale, AXES)
    for path in draw(find(runs), output, axis, against, training, of, scale, note):  # type: ignore[arg-type]
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
    from admmctl.runs.record import find

    for path in draw(find(runs), over, one_of("--unit", unit, UNITS), output):
        put(str(path))


@app.command()
def figures(
    names: Annotated[
        list[str] | None, typer.Argument(help="Figures; without one, their list.", metavar="NAME")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Draw all of them, but for data that is not here.")
    ] = False,
    only_list: Annotated[bool, typer.Option("--list", help="List the figures, and draw none.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="The folder they land in; results/figures by default.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="What is random depends on it alone.")] = 0,
    mirror: Annotated[
        Path | None, typer.Option("--mirror", help="A folder with official files, where data is not prepared.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw the papers' explanatory figures from what is computed here. PNG and PDF, and the points as CSV.

    Without names they are listed, with what each of them needs. No run is needed; what is random depends on the
    seed alone.

    Examples:

      admmctl figures

      admmctl figures activations boundary --output pictures

      admmctl figures --all
    """
    from admmctl.report.illustrations import figures_table, illustrate, make_folder
    from admmctl.report.live import Measuring, error_console
    from admmctl.studies.illustrations import Request, compute, listing

    if names and everything:
        raise UserError("name figures, or ask for --all, not both")
    if only_list or not (names or everything):
        put_json({"figures": listing()}) if as_json else put(figures_table(listing()))
        return
    with Measuring(error_console()) as progress:
        found, missing = compute(names or [], Request(seed, mirror), everything, progress.at)
    for name, reason in missing.items():
        note(f"skipped: {name}: {reason}")
    folder = make_folder(output)
    drawn: list[dict[str, Any]] = []
    for entry in listing():
        points = found.get(entry["name"])
        if points is not None:
            files = illustrate(entry["name"], points.rows, points.facts, points.images, folder)
            drawn.append({**entry, "seed": seed, "facts": points.facts, "files": [str(path) for path in files]})
    if as_json:
        skipped = [{"name": name, "reason": reason} for name, reason in missing.items()]
        put_json({"figures": drawn, "skipped": skipped})
    else:
        put("\n".join(path for figure in drawn for path in figure["files"]))
