"""Commands for scaling: scaling, scaling-plot."""

from pathlib import Path
from typing import Annotated

import typer

from admmctl.cli import complete
from admmctl.cli.app import app, note
from admmctl.cli.options import RANKS, Changes, Cluster, Config, Hosts, Json, LaunchedBy, OneMethod
from admmctl.cli.train import hand_in, live_view
from admmctl.errors import UserError
from admmctl.report.output import put, put_json


@app.command()
def scaling(
    config: Config,
    cores: Annotated[str, typer.Option("--cores", help="Numbers of cores to compare, for instance 1,2,4")],
    method: OneMethod = None,
    repeat: Annotated[int, typer.Option("--repeat", help="Runs on each number of cores, a seed each.")] = 3,
    iterations: Annotated[
        int | None, typer.Option("--iterations", help="Time this many iterations, evaluated at the end.")
    ] = None,
    to_target: Annotated[
        bool, typer.Option("--to-target", help="Time to the target; the default when the file has one.")
    ] = False,
    weak: Annotated[
        bool, typer.Option("--weak", help="As many rows for every rank; all rows on the most cores.")
    ] = False,
    oversubscribe: Annotated[
        bool,
        typer.Option(
            "--oversubscribe",
            help="Allow more ranks than cores; processor time counts there.",
            rich_help_panel=RANKS,
        ),
    ] = False,
    launcher: LaunchedBy = "auto",
    hosts: Hosts = None,
    cluster: Cluster = None,
    part: Annotated[
        int | None, typer.Option("--part", help="Of these, the runs on N cores alone.", metavar="N")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Of sbatch: print the job scripts.")] = False,
    settings: Changes = None,
    as_json: Json = False,
) -> None:
    """Train on several numbers of cores, repeated and interleaved, and compare the times.

    By sbatch every number of cores is a job of its own.

    A study lands in results/EXPERIMENT/scaling-...; the same command goes on where it stopped, and more cores
    or repeats are added to what is there. A run of which other work took the cores is made again, twice at most.
    Draw it with: admmctl scaling-plot

    Examples:

      admmctl scaling configs/swissroll.yaml --cores 1,2 --repeat 6

      admmctl scaling configs/higgs.yaml --cores 1,2,4,8 --iterations 20 --weak
    """
    from admmctl.launch.options import check_options
    from admmctl.report.scaling import scaling_table
    from admmctl.studies import scaling as study
    from admmctl.studies.points import summarise

    options = check_options(1, None, launcher, oversubscribe, hosts, cluster)
    request = study.Request(config, cores, method, repeat, iterations, to_target, weak, options, settings or [])
    if launcher == "sbatch":
        orders = study.orders(request, dry_run)
        if dry_run:
            scripts = [order.script() for order in orders]
            put_json({"scripts": scripts}) if as_json else put("\n".join(scripts).rstrip("\n"))
        else:
            hand_in(orders, as_json)
        return
    if dry_run:
        raise UserError("--dry-run of scaling prints job scripts: add --launcher sbatch")
    with live_view(as_json) as live:
        folder = study.scaling(request, live, note, part)
    if part is not None:  # the other parts may not be there yet, and one point makes no study
        put_json({"study": str(folder), "part": part}) if as_json else put(f"{part} of {cores} is done: {folder}")
        return
    result = summarise(folder)
    put_json(result) if as_json else put(scaling_table(result))


@app.command("scaling-plot")
def scaling_plot(
    studies: Annotated[
        list[str] | None,
        typer.Argument(
            help="Studies, or experiment folders; all by default.",
            metavar="STUDY",
            autocompletion=complete.runs,
        ),
    ] = None,
    machine: Annotated[
        str | None,
        typer.Option("--machine", help="Draw the model for this machine too: a file, or a name: cray-xc30."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="First part of the file names; for one study.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw scaling studies: seconds, speed-up and efficiency, and phases, against cores. PNG and PDF.

    Measured points with their repeats or intervals, the fitted cost model as a line, the ideal, Amdahl's and the
    communication bound, and what the papers report, marked as theirs.

    Examples:

      admmctl scaling-plot results/swissroll

      admmctl scaling-plot results/higgs --machine cray-xc30
    """
    from admmctl.papers.taylor import POINTS
    from admmctl.report.scaling import scaling_plots, scaling_table
    from admmctl.studies.points import find_studies, summarise_all

    results, left_out = summarise_all(find_studies(studies), machine, named=bool(studies))
    for reason in left_out:
        note(f"left out: {reason}")
    if output is not None and len(results) > 1:
        raise UserError(f"--output names the figures of one study, and these are {len(results)}; name one of them")
    drawn = [scaling_plots(result, output, POINTS.get(result.data)) for result in results]
    paths = [str(path) for paths_of_study in drawn for path in paths_of_study]
    if as_json:
        put_json({"studies": results, "figures": paths})
    else:
        for result in results:
            put(scaling_table(result), "")
        put("\n".join(paths))
