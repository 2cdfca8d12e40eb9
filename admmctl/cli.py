"""The commands: parse, call, print. No logic lives here."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from admmctl import __version__
from admmctl.errors import AdmmctlError, Interrupted, RunFailed, UserError
from admmctl.report.output import put, put_json

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
UNITS = ("seconds", "epochs", "iterations")
AXES = ("auto", "log", "linear")
NO_RUNS = "no runs yet; start one with: admmctl train configs/swissroll.yaml"

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


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        put(f"admmctl {__version__}")
        raise typer.Exit


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="Datasets, for instance: mnist higgs", metavar="NAME...")],
    mirror: Annotated[
        str | None,
        typer.Option(help="A folder or an address prefix that has the official files; no other place is tried."),
    ] = None,
    from_files: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Files that you have already; may be repeated.", metavar="FILE..."),
    ] = None,
    rows: Annotated[int | None, typer.Option("--rows", help="HIGGS: prepare only the first N rows.")] = None,
    extra: Annotated[
        bool, typer.Option("--extra", help="SVHN: the 531,131 extra digits too (1.3 GB to download).")
    ] = False,
    keep_raw: Annotated[bool, typer.Option("--keep-raw", help="Keep the downloaded files.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is already here.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Re-check what is here against its recorded checksums.")
    ] = False,
) -> None:
    """Download official datasets, verify them and prepare them for training.

    Datasets land in ./datasets, or in the folder that ADMMCTL_DATASETS names. An interrupted download or
    preparation goes on where it stopped.

    Examples:

      admmctl fetch mnist cifar10

      admmctl fetch higgs --from HIGGS.csv.gz --rows 1000000
    """
    from admmctl.data.fetch import Request, check, split_names
    from admmctl.data.fetch import fetch as fetch_one
    from admmctl.report.live import Downloads, error_console

    console = error_console()

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    names, files = split_names(names, from_files or [])
    request = Request(mirror, files, keep_raw, force, rows, extra)
    for name in names:
        if verify:
            check(name, say)
        else:
            with Downloads(console) as progress:
                fetch_one(name, request, say, progress)


@datasets_app.callback(invoke_without_command=True)
def datasets_list(context: typer.Context, as_json: Json = False) -> None:
    """List the datasets: what exists, what is here, rows, features, disk used.

    Example: admmctl datasets
    """
    from admmctl.data.listing import listing
    from admmctl.report.tables import datasets_table

    if context.invoked_subcommand is None:
        entries = listing()
        put_json({"datasets": entries}) if as_json else put(datasets_table(entries))


@datasets_app.command("show")
def datasets_show(
    name: Annotated[str, typer.Argument(help="A dataset, for instance: mnist")], as_json: Json = False
) -> None:
    """Show one dataset: its files and their checksums, its licence, its citation, its label counts.

    Example: admmctl datasets show higgs
    """
    from admmctl.data.listing import describe
    from admmctl.report.tables import dataset_details

    entry = describe(name)
    put_json(entry) if as_json else put(dataset_details(entry))


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="An experiment file, for instance configs/swissroll.yaml")],
    method: Annotated[
        str | None, typer.Option("--method", help="A method of the file, or 'all'; the first by default.")
    ] = None,
    cores: Annotated[
        int | None, typer.Option("--cores", help="MPI ranks, one per core; 1, or all of the Slurm job this is in.")
    ] = None,
    threads: Annotated[
        str | None, typer.Option("--threads", help="Linear algebra threads per rank: a number or 'auto'.")
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", help="Runs per method, each with a seed of its own.")] = 1,
    launcher: LaunchedBy = "auto",
    hosts: Hosts = None,
    cluster: Cluster = None,
    oversubscribe: Annotated[
        bool, typer.Option("--oversubscribe", help="Allow more ranks than this machine has cores.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a key of the file: methods.admm.ridge=1e-3. May be repeated.",
            metavar="KEY=VALUE",
        ),
    ] = None,
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
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run, and run nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Train a network as an experiment file says, and record the run in ./results.

    Examples:

      admmctl train configs/swissroll.yaml

      admmctl train configs/mnist01.yaml --cores 2 --set stop.iterations=20

      admmctl train configs/mnist01.yaml --cores 2 --resume

      admmctl train configs/svhn.yaml --cores 256 --launcher sbatch --cluster slurm --dry-run
    """
    from admmctl.report.live import Live, error_console
    from admmctl.report.tables import runs_table
    from admmctl.runs import train as driver
    from admmctl.runs.submit import planned, submit, train_order

    options = driver.check_options(cores, threads, launcher, oversubscribe, hosts, cluster, watchdog)
    if options.way() == "sbatch":
        order = train_order(config, method, repeat, options, settings or [], cluster, dry_run, resume)
        if dry_run:
            put_json({"script": planned(order)}) if as_json else put(planned(order).rstrip("\n"))
        else:
            handed_in([submit(order)], as_json)
        return
    if dry_run:
        plans = driver.dry_run(config, method, repeat, options, settings or [])
        put_json({"runs": plans}) if as_json else put("\n".join(driver.plan_text(plan) for plan in plans))
        return
    try:
        runs = driver.train(
            config,
            method=method,
            cores=options.cores,
            threads=options.threads,
            repeat=repeat,
            launcher=options.launcher,
            oversubscribe=oversubscribe,
            hosts=hosts,
            cluster=cluster,
            overrides=settings or [],
            watcher=Live(error_console()),
            resume=resume,
            patience=watchdog,
        )
    except (RunFailed, Interrupted) as stop:
        if as_json:
            put_json({"runs": stop.runs})
        raise
    if as_json:
        put_json({"runs": runs})
    else:
        put(runs_table(runs))


@app.command("wait")
def wait_for(jobs: JobArguments, as_json: Json = False) -> None:
    """Wait for jobs that were handed in, and show what they print. The exit code is that of their runs.

    Example: admmctl wait results/svhn
    """
    from admmctl.report.tables import read_runs, runs_table
    from admmctl.runs import jobs as handed

    found = jobs_named(jobs)
    code = handed.wait(found, note, note)
    runs = read_runs([run for job in found for run in job.runs() if run.is_dir()])
    if as_json:
        put_json({"runs": runs})
    elif runs:
        put(runs_table(runs))
    raise typer.Exit(code)


@app.command()
def cancel(jobs: JobArguments) -> None:
    """Cancel jobs that wait or run. Runs that have begun keep what they recorded.

    Example: admmctl cancel results/svhn
    """
    from admmctl.runs import jobs as handed

    handed.cancel(jobs_named(jobs), note)


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(help="An experiment file with a sweep: block.")],
    method: Annotated[
        str | None, typer.Option("--method", help="The method to tune; the first by default.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", help="How many trials; the file's number by default.")
    ] = None,
    cores: Annotated[int, typer.Option("--cores", help="Trials side by side, one core each.")] = 1,
    settings: Changes = None,
    as_json: Json = False,
) -> None:
    """Tune a method: try settings from its search space, choose by validation accuracy, time the winner alone.

    Every trial is kept under results/EXPERIMENT/sweep-METHOD; running it again goes on where it stopped.
    best.yaml there is an experiment file with the winning settings.

    Example: admmctl sweep configs/mnist01.yaml --method sgd --trials 12 --cores 2
    """
    from admmctl.report.live import Live, SweepProgress, error_console
    from admmctl.report.tables import sweep_tables
    from admmctl.studies.sweep import sweep as run_sweep

    console = error_console()
    result = run_sweep(config, method, trials, cores, settings or [], SweepProgress(console).ended, Live(console))
    put_json(result) if as_json else put(sweep_tables(result))
    if result["best"] is None:
        raise RunFailed("no trial ended with a validation accuracy: trials.csv has the reason of each")


@app.command()
def scaling(
    config: Annotated[Path, typer.Argument(help="An experiment file, for instance configs/swissroll.yaml")],
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
        bool, typer.Option("--oversubscribe", help="Allow more ranks than cores; processor time counts there.")
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
    or repeats are added to what is there. Draw it with: admmctl scaling-plot

    Examples:

      admmctl scaling configs/swissroll.yaml --cores 1,2 --repeat 6

      admmctl scaling configs/higgs.yaml --cores 1,2,4,8 --iterations 20 --weak
    """
    from admmctl.report.live import Live, error_console
    from admmctl.report.scaling import scaling_table
    from admmctl.runs.options import check_options
    from admmctl.runs.submit import planned, submit
    from admmctl.studies import scaling as study
    from admmctl.studies.points import summarise

    asked: dict[str, Any] = {
        "method": method,
        "repeat": repeat,
        "iterations": iterations,
        "to_target": to_target,
        "weak": weak,
        "options": check_options(1, None, launcher, oversubscribe, hosts, cluster),
        "overrides": settings or [],
    }
    if launcher == "sbatch":
        orders = study.orders(config, cores, **asked, cluster=cluster, dry=dry_run)
        if dry_run:
            scripts = [planned(order) for order in orders]
            put_json({"scripts": scripts}) if as_json else put("\n".join(scripts).rstrip("\n"))
        else:
            handed_in([submit(order) for order in orders], as_json)
        return
    if dry_run:
        raise UserError("--dry-run of scaling prints job scripts: add --launcher sbatch")
    try:
        folder = study.scaling(config, cores, **asked, part=part, watcher=Live(error_console()), say=note)
    except (RunFailed, Interrupted) as stop:
        if as_json:
            put_json({"runs": stop.runs})
        raise
    if part is not None:  # the other parts may not be there yet, and one point makes no study
        put_json({"study": str(folder), "part": part}) if as_json else put(f"{part} of {cores} is done: {folder}")
        return
    result = summarise(folder)
    put_json(result) if as_json else put(scaling_table(result))


@app.command("scaling-plot")
def scaling_plot(
    studies: Annotated[
        list[str] | None,
        typer.Argument(help="Studies, or experiment folders; all by default.", metavar="STUDY..."),
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
    from admmctl.report.scaling import scaling_plots, scaling_table
    from admmctl.studies.points import find_studies, summarise_all

    results, left_out = summarise_all(find_studies(studies), machine, named=bool(studies))
    for reason in left_out:
        note(f"left out: {reason}")
    if output is not None and len(results) > 1:
        raise UserError(f"--output names the figures of one study, and these are {len(results)}; name one of them")
    paths = [str(path) for result in results for path in scaling_plots(result, output)]
    if as_json:
        put_json({"studies": results, "figures": paths})
    else:
        for result in results:
            put(scaling_table(result), "")
        put("\n".join(paths))


@app.command()
def bench(
    config: Annotated[
        Path | None, typer.Argument(help="An experiment file; the HIGGS network, 28-300-1, by default.")
    ] = None,
    method: OneMethod = None,
    rows: Annotated[int, typer.Option("--rows", help="Synthetic training rows, of all ranks together.")] = 100_000,
    cores: Annotated[int, typer.Option("--cores", help="MPI ranks, one per core.")] = 1,
    repeat: Annotated[int, typer.Option("--repeat", help="Iterations that are timed; medians are shown.")] = 5,
    oversubscribe: Annotated[
        bool, typer.Option("--oversubscribe", help="Allow more ranks than this machine has cores.")
    ] = False,
    settings: Changes = None,
    as_json: Json = False,
) -> None:
    """Measure this machine, and how near to its limit a method's iteration runs.

    One thread per rank, all in one run: the matrix-product peak, memory bandwidth, Allreduce by size, and the
    method's iteration on synthetic rows at the experiment's shapes, with its useful GFLOP/s.

    Examples:

      admmctl bench

      admmctl bench configs/higgs.yaml --rows 500000 --cores 2
    """
    from admmctl.report.bench import bench_tables
    from admmctl.report.live import Measuring, error_console
    from admmctl.studies.bench import bench as run_bench

    with Measuring(error_console()) as progress:
        result = run_bench(config, method, rows, cores, repeat, settings or [], progress.at, oversubscribe)
    put_json(result) if as_json else put(bench_tables(result))


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="An experiment file: what it needs is compared with what is here.")
    ] = None,
    cores: Annotated[int | None, typer.Option("--cores", help="The MPI ranks that are planned.")] = None,
    hosts: Hosts = None,
    cluster: Cluster = None,
    settings: Changes = None,
    as_json: Json = False,
) -> None:
    """Check this machine: MPI by a real start of two ranks, BLAS, cores, memory, disk, Slurm, torch and jax.

    Every line is ok, a warning or an error, with its cure. Exit code 1 when there is an error.

    Examples:

      admmctl doctor

      admmctl doctor configs/higgs.yaml --cores 8
    """
    from admmctl.report.doctor import doctor_table
    from admmctl.report.live import Measuring, error_console
    from admmctl.studies.doctor import doctor as examine

    with Measuring(error_console()) as progress:
        checks = examine(config, cores, settings or [], hosts, cluster, progress.at)
    put_json({"checks": checks}) if as_json else put(doctor_table(checks))
    if any(check["state"] == "error" for check in checks):
        raise typer.Exit(AdmmctlError.exit_code)


@app.command()
def condition(
    config: Annotated[Path, typer.Argument(help="An experiment file with a convex-admm method.")],
    ranks: Annotated[
        str | None, typer.Option("--ranks", help="Ranks of the sketch: 10,20,50,100,200,500 by default.")
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="A convex-admm method of the file; the first by default.")
    ] = None,
    settings: Changes = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="File name; .png, .pdf and .csv are all written.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw what preconditioners do to the convex method's matrix: condition numbers by rank. PNG, PDF and CSV.

    The matrix of the primal update alone, with the Jacobi and the block preconditioner, and with a Nystrom sketch
    of each rank. All eigenvalues are computed, so the experiment has to be small.

    Example: admmctl condition configs/cifar2-convex-small.yaml --ranks 10,100,400
    """
    from admmctl.report.condition import check_output, condition_plot, condition_table
    from admmctl.report.live import Measuring, error_console
    from admmctl.studies.condition import condition as run_condition

    check_output(output)
    with Measuring(error_console()) as progress:
        result = run_condition(config, ranks, method, settings or [], progress.at)
    paths = [str(path) for path in condition_plot(result, output)]
    if as_json:
        put_json({**result, "figures": paths})
    else:
        put(condition_table(result), "", "\n".join(paths))


@app.command()
def predict(
    run: Annotated[str, typer.Argument(help="A run folder.", metavar="RUN")],
    inputs: Annotated[Path, typer.Option("--input", help="Rows to classify: X.npy or X.csv, unscaled.")],
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

    Example: admmctl predict results/mnist01/admm-p1-s0-1a2b3c4d --input digits.npy
    """
    from admmctl.report.tables import only_run
    from admmctl.runs.predict import predict_rows, predictions_csv
    from admmctl.runs.record import find

    result = predict_rows(only_run(find([run]), run), inputs, iterate, gated)
    if as_json:
        put_json(result)
    else:
        predictions_csv(result, output)


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

      admmctl accuracy-plot results/swissroll --of train_loss --against iterations
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

    Example: admmctl target-plot results/mnist-graph-rates --over rho
    """
    from admmctl.report.figures import target_plot as draw
    from admmctl.runs.record import find

    for path in draw(find(runs), over, one_of("--unit", unit, UNITS), output):
        put(str(path))


@app.command()
def figures(
    names: Annotated[
        list[str] | None, typer.Argument(help="Figures; without one, their list.", metavar="NAME...")
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


@runs_app.command("list")
def runs_list(runs: RunArguments = None, as_json: Json = False) -> None:
    """List runs: status, accuracy, seconds, iterations.

    Example: admmctl runs list results/swissroll
    """
    from admmctl.report.tables import read_runs, runs_table
    from admmctl.runs import jobs

    handed = jobs.find(runs)
    found = jobs.listed(read_runs(jobs.runs_beside(handed, runs)), handed)
    if as_json:
        put_json({"runs": found})
    elif found:
        put(runs_table(found))
    else:
        put(NO_RUNS)


@runs_app.command("show")
def runs_show(runs: RunArguments = None, as_json: Json = False) -> None:
    """Show everything about runs: summary, seconds by phase, the curve.

    Example: admmctl runs show results/swissroll
    """
    from admmctl.report.tables import confusion_table, curve_table, phases_table, read_runs, run_details
    from admmctl.runs.record import find

    folders = find(runs)
    if as_json:
        put_json({"runs": read_runs(folders)})
        return
    if not folders:
        put(NO_RUNS)
    for folder in folders:
        put(run_details(folder), confusion_table(folder), phases_table(folder), curve_table(folder))


@runs_app.command("compare")
def runs_compare(
    runs: RunArguments = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the comparison there as CSV too.")] = None,
    as_json: Json = False,
) -> None:
    """Compare methods over their repeats: medians with intervals, reached k of n, and a verdict.

    Example: admmctl runs compare results/mnist01
    """
    from admmctl.report.compare import compare, compare_table, write_csv
    from admmctl.runs.record import find

    result = compare(find(runs))
    if csv is not None:
        write_csv(result, csv)
    put_json(result) if as_json else put(compare_table(result))


@runs_app.command("phases")
def runs_phases(
    runs: RunArguments = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Show the convex paper's Table 1, too; cifar2-convex always does.")
    ] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write all phases there as CSV too.")] = None,
    as_json: Json = False,
) -> None:
    """Show where the seconds to the target went: by method and phase, medians over repeats.

    Example: admmctl runs phases results/cifar2-convex
    """
    from admmctl.report.phases import phases, phases_table, write_csv
    from admmctl.runs.record import find

    result = phases(find(runs), paper)
    if csv is not None:
        write_csv(result, csv)
    put_json(result) if as_json else put(phases_table(result))


def one_of(option: str, word: str, valid: tuple[str, ...]) -> Any:
    """``word`` when it is one of ``valid``; raises UserError."""
    if word not in valid:
        raise UserError(f"{option} {word}: valid: {', '.join(valid)}")
    return word


def jobs_named(names: list[str]) -> list[Any]:
    """The jobs of RUN arguments; raises UserError when there are none."""
    from admmctl.runs.jobs import find

    found = find(names)
    if not found:
        raise UserError(f"{', '.join(names)}: no job was handed in there; see: admmctl runs list")
    return found


def handed_in(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Say which jobs there are now, and how to go on."""
    if as_json:
        put_json({"runs": rows})
        return
    for row in rows:
        put(f"job {row['job']}: {row['folder']}")
    note("see: admmctl runs list; follow: admmctl wait " + " ".join(row["job"] for row in rows))


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


if __name__ == "__main__":
    main()
