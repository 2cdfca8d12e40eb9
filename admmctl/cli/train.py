"""Commands that train: train, wait, cancel, sweep."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from admmctl.cli import complete
from admmctl.cli.app import app, note
from admmctl.cli.options import (
    OUTPUT,
    RANKS,
    Changes,
    Cluster,
    Config,
    DryJobs,
    Hosts,
    JobArguments,
    Json,
    LaunchedBy,
    OneMethod,
    Oversubscribe,
)
from admmctl.errors import Interrupted, RunFailed, UserError
from admmctl.report.output import put, put_json

if TYPE_CHECKING:  # commands load what they need as they run
    from admmctl.report.live import Live
    from admmctl.runs.jobs import Job
    from admmctl.runs.submit import Order
    from admmctl.runs.summary import Row
    from admmctl.studies.trials import Trial


@app.command()
def train(
    config: Config,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="A method of the file, or 'all'; the first by default.",
            autocompletion=complete.methods,
        ),
    ] = None,
    cores: Annotated[
        int | None,
        typer.Option(
            "--cores",
            help="MPI ranks, one per core; 1, or all of the Slurm job this is in.",
            rich_help_panel=RANKS,
        ),
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(
            "--threads", help="Linear algebra threads per rank: a number or 'auto'.", rich_help_panel=RANKS
        ),
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", help="Runs per method, each with a seed of its own.")] = 1,
    launcher: LaunchedBy = "auto",
    hosts: Hosts = None,
    cluster: Cluster = None,
    oversubscribe: Oversubscribe = False,
    settings: Changes = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with a run that was interrupted, from its last checkpoint."),
    ] = False,
    watchdog: Annotated[
        float | None,
        typer.Option(
            "--watchdog",
            help="End a job of several ranks after so many seconds without progress.",
            metavar="SECONDS",
            rich_help_panel=RANKS,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print what would run and what would stop it, and run nothing.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a network as an experiment file says, and record the run in ./results.

    The run's folder, results/EXPERIMENT/METHOD-pRANKS-sSEED-HASH, holds its settings, the curve, the seconds by
    phase, the weights and a summary. A terminal shows how it goes; Ctrl-C stops after the iteration, with a
    checkpoint where the method has one, and --resume goes on from there.

    Examples:

      admmctl train swissroll

      admmctl train mnist01 --cores 2 --set stop.iterations=20

      admmctl train mnist01 --cores 2 --resume

      admmctl train svhn --cores 256 --launcher sbatch --dry-run
    """
    from admmctl.launch.inherited import check_single

    check_single()  # before what takes long to load
    from admmctl.launch.options import check_options
    from admmctl.report.tables import runs_table
    from admmctl.runs import dry
    from admmctl.runs import train as driver
    from admmctl.runs.new import next_steps
    from admmctl.runs.submit import train_order

    options = check_options(cores, threads, launcher, oversubscribe, hosts, cluster, watchdog)
    request = driver.Request(config, options, method, repeat, settings or [], resume)
    if launcher == "sbatch":
        order = train_order(request, dry_run)
        if dry_run:
            put_json({"script": order.script()}) if as_json else put(order.script().rstrip("\n"))
            for line in dry.what_stops(dry.refusals(request.runs(), options)):
                note(line)
        else:
            hand_in([order], as_json)
        return
    if dry_run:
        plans = dry.dry_run(request)
        comments = [f"# {line}" for line in dry.what_stops({plan.method: plan.stopped_by for plan in plans})]
        put_json({"runs": plans}) if as_json else put("\n".join([*map(str, plans), *comments]))
        return
    with live_view(as_json) as live:
        runs = driver.train_all(request, live)
    if as_json:
        put_json({"runs": runs})
        return
    put(runs_table(runs))
    for line in next_steps(request, runs):
        note(line)


@app.command("wait")
def wait_for(jobs: JobArguments, as_json: Json = False) -> None:
    """Wait for jobs that were handed in, and show what they print.

    It waits until all have ended; the exit code is then that of their runs. Ctrl-C ends the waiting, and no job.

    Example:

      admmctl wait results/svhn
    """
    from admmctl.report.tables import runs_table
    from admmctl.runs import jobs as handed
    from admmctl.runs.recorded import Recorded

    found = jobs_named(jobs)
    code = handed.wait(found, note, note)
    runs = [Recorded(run).row for job in found for run in job.runs() if run.is_dir()]
    if as_json:
        put_json({"runs": runs})
    elif runs:
        put(runs_table(runs))
    raise typer.Exit(code)


@app.command()
def cancel(jobs: JobArguments) -> None:
    """Cancel jobs that wait or run.

    Slurm is asked to end them. Runs that have begun keep what they recorded, and --resume goes on with them.

    Example:

      admmctl cancel results/svhn
    """
    from admmctl.runs import jobs as handed

    handed.cancel(jobs_named(jobs), note)


@app.command()
def sweep(
    config: Config,
    method: OneMethod = None,
    trials: Annotated[
        int | None, typer.Option("--trials", help="How many trials; the file's number by default.")
    ] = None,
    cores: Annotated[
        int | None,
        typer.Option(
            "--cores",
            help="Cores of this machine: a trial at a time on each, or on each --ranks of them; 1.",
            rich_help_panel=RANKS,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", help="Trials at once, or jobs by sbatch.", metavar="N", rich_help_panel=RANKS),
    ] = None,
    ranks: Annotated[
        int,
        typer.Option(
            "--ranks", help="MPI ranks of every trial, one per core.", metavar="R", rich_help_panel=RANKS
        ),
    ] = 1,
    launcher: LaunchedBy = "auto",
    hosts: Hosts = None,
    cluster: Cluster = None,
    part: Annotated[
        str | None, typer.Option("--part", help="The K-th of N parts of the trials, and no winner.", metavar="K/N")
    ] = None,
    dry_run: DryJobs = False,
    settings: Changes = None,
    as_json: Json = False,
) -> None:
    """Tune a method: try settings from its search space, choose by validation accuracy, time the winner alone.

    The file's sweep: block names the keys to vary and their values. Every trial is kept under
    results/EXPERIMENT/sweep-METHOD; running it again goes on where it stopped, also within a trial. best.yaml
    there is an experiment file with the winning settings.

    By sbatch --jobs N of them share the trials, and one more waits for these and trains the winner.

    Examples:

      admmctl sweep mnist01 --method sgd --trials 12 --cores 2

      admmctl sweep svhn --jobs 4 --ranks 16 --hosts h1:32,h2:32

      admmctl sweep svhn --jobs 4 --ranks 64 --launcher sbatch --cluster slurm
    """
    from admmctl.launch.inherited import check_single

    check_single()  # before what takes long to load
    from admmctl.launch.options import check_options
    from admmctl.report.live import Live, error_console
    from admmctl.report.sweep import sweep_tables, trial_line
    from admmctl.studies import sweep as study

    if ranks < 1:
        raise UserError(f"--ranks {ranks}: expected 1 or more")
    options = check_options(ranks, None, launcher, False, hosts, cluster)
    request = study.Request(config, method, trials, cores, jobs, options, settings or [])
    if launcher == "sbatch":
        queue(study.orders(request, dry_run), dry_run, as_json)
        return
    if dry_run:
        raise UserError("--dry-run of sweep prints job scripts: add --launcher sbatch")
    share = None if part is None else study.Part.parse(part)
    with Live(error_console()) as live:

        def report(trial: "Trial", done: int, total: int) -> None:
            live.event({"event": "note", "text": trial_line(trial, done, total)})

        result = study.sweep(request, report, live, share)
    if share is not None:  # the other parts may not be there yet
        put_json({**vars(result), "part": part}) if as_json else put(f"part {part} is done: {result.folder}")
        return
    put_json(result) if as_json else put(sweep_tables(result))
    if result.best is None:
        raise RunFailed("no trial ended with a validation accuracy: trials.csv has the reason of each")


@contextmanager
def live_view(as_json: bool) -> Iterator["Live"]:
    """Shows runs as they go on; with ``--json``, also prints them where one of them fails or is interrupted."""
    from admmctl.report.live import Live, error_console

    try:
        with Live(error_console()) as live:
            yield live
    except (RunFailed, Interrupted) as stop:
        if as_json:
            put_json({"runs": stop.runs})
        raise


def jobs_named(names: list[str]) -> "list[Job]":
    """The jobs of RUN arguments; raises UserError when there are none."""
    from admmctl.runs.jobs import find

    found = find(names)
    if not found:
        raise UserError(f"{', '.join(names)}: no job was handed in there; see: admmctl runs list")
    return found


def queue(orders: "list[Order]", dry_run: bool, as_json: bool) -> None:
    """Hand in the jobs of a study; with ``dry_run`` print their scripts."""
    if not dry_run:
        hand_in(orders, as_json)
        return
    scripts = [order.script() for order in orders]
    put_json({"scripts": scripts}) if as_json else put("\n".join(scripts).rstrip("\n"))


def hand_in(orders: "list[Order]", as_json: bool) -> None:
    """Hand in jobs, and print those that Slurm took, and how to go on; also where it refuses one of them."""
    from admmctl.runs.submit import submit

    rows: list[Row] = []
    try:
        for order in orders:
            before = [str(row["job"]) for row in rows] if order.last else []
            rows.append(submit(order, note, before))
    finally:
        if rows and as_json:
            put_json({"runs": rows})
        elif rows:
            put("\n".join(f"job {row['job']}: {row['folder']}" for row in rows))
            note("see: admmctl runs list; follow: admmctl wait " + " ".join(row["job"] for row in rows))
