"""Commands that look at a machine, or at a method on it: bench, doctor, condition."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from admmctl.cli import complete
from admmctl.cli.app import app, note
from admmctl.cli.options import (
    Changes,
    Cluster,
    Config,
    Hosts,
    Json,
    OneMethod,
    OtherMachine,
    Oversubscribe,
    Slower,
    file_of,
)
from admmctl.errors import AdmmctlError, UserError
from admmctl.report.output import put, put_json

if TYPE_CHECKING:  # commands load what they need as they run
    from admmctl.studies.bench import Bench

MARGIN = "5%"  # of bench --against, where none is given


@app.command()
def bench(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="An experiment file; the HIGGS network, 28-300-1, by default.",
            metavar="CONFIG",
            autocompletion=complete.configs,
            callback=file_of,
        ),
    ] = None,
    method: OneMethod = None,
    rows: Annotated[int, typer.Option("--rows", help="Synthetic training rows, of all ranks together.")] = 100_000,
    cores: Annotated[int, typer.Option("--cores", help="MPI ranks, one per core.")] = 1,
    repeat: Annotated[int, typer.Option("--repeat", help="Iterations that are timed; medians are shown.")] = 5,
    earlier: Annotated[
        Path | None,
        typer.Option(
            "--against",
            help="Hold it against an earlier bench --json of the same; exit with 1 where it is slower.",
        ),
    ] = None,
    slower: Slower = None,
    other_machine: OtherMachine = False,
    oversubscribe: Oversubscribe = False,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", help="PyTorch there in the place of NumPy: cpu, cuda or cuda:N; with its own peak."
        ),
    ] = None,
    settings: Changes = None,
    as_json: Json = False,
) -> None:
    """Measure this machine, and how near to its limit a method's iteration runs.

    One thread per rank, all in one run: the matrix-product peak, memory bandwidth, Allreduce by size, and the
    method's iteration on synthetic rows at the experiment's shapes, with its useful GFLOP/s. It says so where
    other work took the cores.

    With --against an iteration is held against the one of an earlier file, by intervals, so --repeat has to be 6
    or more then and now. What is slower is measured again, twice; the exit code is 1 only where it stays slower.

    Examples:

      admmctl bench

      admmctl bench higgs --rows 500000 --cores 2

      admmctl bench mnist-graph --device cuda

      admmctl bench higgs --repeat 15 --against old.json --fail-if-slower 10%
    """
    from admmctl.launch.inherited import check_single

    check_single()  # before what takes long to load
    from admmctl.report.bench import against_outcome, against_table, bench_tables
    from admmctl.report.live import error_console, measuring
    from admmctl.studies.against import check_same, held_against, read_bench
    from admmctl.studies.bench import bench as run_bench
    from admmctl.studies.bench import chosen
    from admmctl.studies.gate import margin_of

    def measure(say: Callable[[str], None]) -> "Bench":
        return run_bench(config, method, rows, cores, repeat, settings or [], say, oversubscribe, device)

    if earlier is None:
        if slower is not None or other_machine:
            raise UserError("--fail-if-slower and --other-machine go with --against FILE")
        with measuring(error_console()) as say:
            result = measure(say)
        put_json(result.model_dump()) if as_json else put(bench_tables(result))
        return
    before, margin = read_bench(earlier), margin_of(slower or MARGIN, "--fail-if-slower")
    check_same(chosen(config, method, settings or [], device), rows, cores, before, other_machine)
    with measuring(error_console()) as say:
        result, found = held_against(measure, before, earlier, margin, say)
    put_json({**result.model_dump(), "against": found}) if as_json else put(against_table(result, found))
    if as_json:
        note(against_outcome(found))
    if found.failed:
        raise typer.Exit(AdmmctlError.exit_code)


@app.command()
def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="An experiment file: what it needs is compared with what is here.",
            metavar="CONFIG",
            autocompletion=complete.configs,
            callback=file_of,
        ),
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

      admmctl doctor higgs --cores 8
    """
    from admmctl.launch.inherited import check_single

    check_single()  # before what takes long to load
    from admmctl.report.doctor import doctor_table
    from admmctl.report.live import error_console, measuring
    from admmctl.studies.doctor import doctor as examine

    with measuring(error_console()) as say:
        checks = examine(config, cores, settings or [], hosts, cluster, say)
    put_json({"checks": checks}) if as_json else put(doctor_table(checks))
    if any(check.state == "error" for check in checks):
        raise typer.Exit(AdmmctlError.exit_code)


@app.command()
def condition(
    config: Config,
    ranks: Annotated[
        str | None, typer.Option("--ranks", help="Ranks of the sketch: 10,20,50,100,200,500 by default.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="A convex-admm method of the file; the first by default.",
            autocompletion=complete.methods,
        ),
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

    Example:

      admmctl condition cifar2-convex-small --ranks 10,100,400
    """
    from admmctl.papers.convex import CONDITION
    from admmctl.report.condition import check_output, condition_plot, condition_table
    from admmctl.report.live import error_console, measuring
    from admmctl.studies.condition import condition as run_condition

    check_output(output)
    with measuring(error_console()) as say:
        result = run_condition(config, ranks, method, settings or [], say)
    paths = [str(path) for path in condition_plot(result, output)]
    if as_json:
        put_json({**vars(result), "figures": paths})
    else:
        put(condition_table(result, CONDITION), "", "\n".join(paths))
