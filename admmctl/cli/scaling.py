"""Commands for scaling: scaling, scaling-plot."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from admmctl.cli import complete
from admmctl.cli.app import app, note
from admmctl.cli.options import RANKS, Changes, Cluster, Config, DryJobs, Hosts, Json, LaunchedBy
from admmctl.cli.train import live_view, queue
from admmctl.errors import UserError
from admmctl.report.output import put, put_json

if TYPE_CHECKING:  # commands load what they need as they run
    from admmctl.studies.crossings import Together
    from admmctl.studies.several import Several


@app.command()
def scaling(
    config: Config,
    cores: Annotated[str, typer.Option("--cores", help="Numbers of cores to compare, for instance 1,2,4")],
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="A method of the file, the first by default; or several: graph-admm,sgd.",
            autocompletion=complete.methods,
        ),
    ] = None,
    batches: Annotated[
        str | None,
        typer.Option("--batches", help="Batch sizes to compare, for instance 128,512,3000.", metavar="ROWS"),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", help="Of several methods or batches: trials that tune each, the file's settings first (6)."
        ),
    ] = None,
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
    dry_run: DryJobs = False,
    settings: Changes = None,
    as_json: Json = False,
) -> None:
    """Train on several numbers of cores, repeated and interleaved, and compare the times.

    By sbatch every number of cores is a job of its own.

    With several methods, or --batches, each method at each batch size is tuned on held-back training rows and
    timed to the target. The answer is the seconds of each method at its best batch size, and from how many cores
    which one is faster.

    A study lands in results/EXPERIMENT/scaling-...; the same command goes on where it stopped, and more cores
    or repeats are added to what is there. A run of which other work took the cores is made again, twice at most.
    Draw it with: admmctl scaling-plot

    Examples:

      admmctl scaling swissroll --cores 1,2 --repeat 6

      admmctl scaling higgs --cores 1,2,4,8 --iterations 20 --weak

      admmctl scaling mnist01 --method admm,sgd,lbfgs --cores 1,2
    """
    from admmctl.launch.options import check_options
    from admmctl.report.scaling import scaling_table
    from admmctl.studies import scaling as study
    from admmctl.studies.points import summarise
    from admmctl.studies.several import TRIALS, Several, is_several

    options = check_options(1, None, launcher, oversubscribe, hosts, cluster)
    request = study.Request(config, cores, method, repeat, iterations, to_target, weak, options, settings or [])
    if is_several(method, batches):
        for option, given in (("--launcher sbatch", launcher == "sbatch"), ("--part", part is not None)):
            if given:
                raise UserError(
                    f"{option} with several methods or --batches: their trials come before their runs; start the "
                    "command inside an allocation, where it finds the launcher by itself"
                )
        if dry_run:
            raise UserError("--dry-run of scaling prints job scripts, of one method")
        _several(Several(request, batches, TRIALS if trials is None else trials), as_json)
        return
    if trials is not None:
        raise UserError("--trials tunes several methods, or batch sizes: add --batches, or name more methods")
    if launcher == "sbatch":
        queue(study.orders(request, dry_run), dry_run, as_json)
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


def _several(asked: "Several", as_json: bool) -> None:
    """Run studies that belong together, and say what they say together."""
    from admmctl.report.crossings import together_table
    from admmctl.report.scaling import scaling_table
    from admmctl.studies.crossings import compare_studies
    from admmctl.studies.points import summarise
    from admmctl.studies.several import several

    with live_view(as_json) as live:
        folders = several(asked, live, note)
    results = [summarise(folder) for folder in folders]
    compared, left_out = compare_studies(results)
    if left_out:
        raise UserError("\n".join(left_out))
    found = [together for together, _ in compared]
    if as_json:
        put_json({"studies": results, **_together(found)})
        return
    for result in results:
        put(scaling_table(result), "")
    for together in found:
        put(together_table(together), "")


def _together(found: "list[Together]") -> dict[str, Any]:
    """What --json says of studies together; each crossing with what it is a crossing of."""
    from admmctl.studies.crossings import thinned

    crossings = [
        {
            "experiment": one.experiment,
            "metric": one.metric,
            "target": one.target,
            "machine": one.machine,
            **vars(crossing),
        }
        for one in found
        for crossing in one.crossings
    ]
    return {"comparisons": [thinned(one) for one in found], "crossings": crossings}


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
    rows: Annotated[
        int | None,
        typer.Option("--rows", help="Of studies together: model so many training rows.", metavar="N"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", help="First part of the file names; for one study, or the figure of several together."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw scaling studies: seconds, speed-up and efficiency, and phases, against cores. PNG and PDF.

    Measured points with their repeats or intervals, the fitted cost model as a line, the ideal, Amdahl's and the
    communication bound, and what the papers report, marked as theirs.

    Studies of one experiment to the same target are drawn together, too: each method at its best batch size for
    that many cores, out to 10,000, with the numbers of cores on which one overtakes another.

    Examples:

      admmctl scaling-plot results/swissroll

      admmctl scaling-plot results/higgs --machine cray-xc30
    """
    from admmctl.papers.taylor import POINTS
    from admmctl.report.crossings import file_of, together_plot, together_table
    from admmctl.report.scaling import scaling_plots, scaling_table
    from admmctl.report.style import check_output
    from admmctl.studies.crossings import compare_studies
    from admmctl.studies.points import find_studies, summarise_all

    if rows is not None and rows < 1:
        raise UserError(f"--rows {rows}: expected 1 or more")
    results, left_out = summarise_all(find_studies(studies), machine, named=bool(studies))
    compared, incomparable = compare_studies(results, machine, rows)
    if incomparable and studies and not compared:
        raise UserError("\n".join(incomparable))
    for reason in (*left_out, *incomparable):
        note(f"left out: {reason}")
    alone = results
    if output is not None and len(results) > 1:
        check_output(output)
        if len(compared) != 1 or len(compared[0][1]) != len(results):
            raise UserError(
                f"--output names the figures of one study, or of studies together, and these are {len(results)}; "
                "name one of them"
            )
        alone = []
    drawn = [scaling_plots(result, output, POINTS.get(result.data)) for result in alone]
    drawn += [together_plot(together, group, output or file_of(together, group)) for together, group in compared]
    paths = [str(path) for paths_of_study in drawn for path in paths_of_study]
    found = [together for together, _ in compared]
    if as_json:
        put_json({"studies": results, "figures": paths, **_together(found)})
    else:
        for result in results:
            put(scaling_table(result), "")
        for together in found:
            put(together_table(together), "")
        put("\n".join(paths))
