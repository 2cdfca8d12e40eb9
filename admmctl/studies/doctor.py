"""``admmctl doctor``: is this machine fit to train on? One small function per check, each with its cure.

A check that fails in itself, or hangs, is an error line like any other: the doctor always reports.
"""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from admmctl import __version__, kernels
from admmctl.data import dataset, shards
from admmctl.errors import AdmmctlError, DataError, MissingExtra, RunFailed, UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Experiment
from admmctl.launch import local, programs, slurm
from admmctl.launch.inherited import code, located_code, without_leftovers
from admmctl.launch.launchers import find_mpiexec
from admmctl.launch.options import Options, check_options
from admmctl.methods.method import methods, trainer
from admmctl.runs import environment, memory
from admmctl.runs.build import build_network
from admmctl.runs.places import root
from admmctl.studies import probes

State = Literal["ok", "warning", "error"]
GB = 1e9
LITTLE_DISK, NO_DISK = 2 * GB, 50e6  # a dataset would not fit; not even a record would
LITTLE_SHM, NO_SHM = 128e6, 8e6  # MPICH passes messages within a machine through it, some MB per rank


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    state: State
    detail: str
    cure: str = ""


@dataclass(frozen=True)
class Patient:
    """What is examined: this machine, for runs that start this way, and perhaps one experiment."""

    options: Options
    experiment: Experiment | None


def doctor(
    config: Path | None = None,
    cores: int | None = None,
    overrides: Iterable[str] = (),
    hosts: str | None = None,
    cluster: str | None = None,
    say: Callable[[str], None] = lambda what: None,
) -> list[Check]:
    """Every check. Raises UserError for wrong usage only.

    ``say`` is told the name of the check that is under way.
    """
    experiment = None if config is None else configuration.load(config, overrides)
    patient = Patient(check_options(cores, oversubscribe=True, hosts=hosts, cluster=cluster), experiment)
    checks: list[Check] = []
    for name, examine in CHECKS.items():
        say(name)
        try:
            checks += [Check(name, *found) for found in examine(patient)]
        except AdmmctlError as error:
            checks.append(Check(name, "error", *_split(str(error))))
        except Exception as error:
            checks.append(Check(name, "error", f"the check itself failed: {type(error).__name__}: {error}"))
    return checks


def _split(message: str) -> tuple[str, str]:
    """An error's message, whose cure often stands behind a semicolon."""
    detail, _, cure = message.partition("; ")
    return detail, cure


Findings = Iterator[tuple[State, str, str]]


def _admmctl(patient: Patient) -> Findings:
    packages = " ".join(
        f"{name} {found}" for name in ("numpy", "scipy") if (found := environment.package_version(name))
    )
    yield "ok", f"{__version__}, Python {platform.python_version()}, {packages}, {platform.system()}", ""


def _mpi_library(patient: Patient) -> Findings:
    found = probes.mpi(probes.ONE_RANK, without_leftovers(programs.environment()))
    yield "ok", found["library"], ""


def _launcher(patient: Patient) -> Findings:
    two = replace(patient.options, cores=2)
    if two.chosen().name == "srun":
        slurm.check_plugin(two.cluster)
        yield "ok", f"srun --mpi={two.cluster.srun_plugin()}, in job {os.environ['SLURM_JOB_ID']}", ""
        return
    two.chosen().check(two)
    program = find_mpiexec(two.cluster.mpiexec)
    started = probes.family(probes.launcher_version(program))
    library = probes.family(probes.mpi(probes.ONE_RANK, without_leftovers(programs.environment()))["library"])
    if started is None or library is None:
        yield "ok", f"{program}, of a family that is not known", ""
    elif started != library:
        yield (
            "error",
            f"{program} is of {started}, but the MPI library of this Python of {library}",
            "unset ADMMCTL_MPIEXEC, or install both of one family: pip install --force-reinstall mpich mpi4py",
        )
    else:
        yield "ok", f"{program}, {started} like the library", ""


def _two_ranks(patient: Patient) -> Findings:
    two = replace(patient.options, cores=max(2, len(patient.options.hosts)))
    two.chosen().check(two)
    command = two.command(probes.MPI, 1)
    found = probes.mpi(command.line, command.environment)
    if found["size"] != two.cores:
        yield (
            "error",
            f"{two.cores} ranks were started and each believes to be alone: the launcher does not belong to "
            f"{found['library']}",
            "unset ADMMCTL_MPIEXEC, or reinstall both: pip install --force-reinstall mpich mpi4py",
        )
    elif found["codes"] != [code()]:
        yield (
            "error",
            f"the ranks run admmctl {' and '.join(found['codes'])}, and this is {located_code()}",
            "install the same version on every host, and let PYTHONPATH name no other checkout",
        )
    elif not found["right"]:
        yield (
            "error",
            f"the Allreduce of {found['library']} gave a wrong sum",
            "reinstall: pip install mpich mpi4py",
        )
    else:
        place = " and ".join(found["hosts"])
        yield "ok", f"an Allreduce of 1 MiB on {place} took {1e3 * found['seconds']:.2g} ms", ""


def _blas(patient: Patient) -> Findings:
    read = local.thread_variables()
    named = {name: os.environ[name] for name in local.THREAD_VARIABLES if name in os.environ}
    detail = ", ".join(environment.blas()) or "unknown"
    for name, value in named.items():
        detail += f", {name}={value}" + ("" if name in read else " (which it does not read)")
    threads = local.threads_in_environment()
    wanted = patient.options.cores * (threads or 1)
    if threads is None and any(name in read for name in named):
        yield (
            "warning",
            f"{detail}: not a number of threads; one per rank is used",
            "set it to a number, or unset it",
        )
    elif threads is not None and wanted > local.available_cores():
        yield (
            "warning",
            f"{detail}: {wanted} threads in all on {_cores(local.available_cores())}",
            "unset it: one thread per rank is the default",
        )
    else:
        yield "ok", detail if threads is not None else f"{detail}, one thread per rank", ""


def _numba(patient: Patient) -> Findings:
    block = np.zeros((2, 2), np.float32)
    kernels.z_relu(block, block.copy(), block.copy(), 1.0, 1.0)  # or nobody knows whether it works
    trouble = kernels.trouble()
    yield ("warning", *_split(trouble)) if trouble else ("ok", kernels.described(), "")


def _cores_allowed(patient: Patient) -> Findings:
    if patient.options.remote() or slurm.allocation() is not None:
        yield from _cores_elsewhere(patient.options)
        return
    allowed, present, ranks = local.available_cores(), os.cpu_count() or 1, patient.options.cores
    detail = f"{_cores(allowed)} allowed" + (f" of {present}" if present != allowed else "")
    quota = probes.cpu_quota()
    if quota is not None and quota < allowed:
        detail += f", with the processor time of {quota:g} (a container's limit)"
        allowed = max(1, int(quota))
    if ranks > allowed:
        yield (
            "warning",
            f"{detail}, and {ranks} ranks",
            f"use --cores {allowed} or fewer; with --oversubscribe ranks share cores: correct, but slower",
        )
    else:
        yield "ok", f"{detail}: --cores up to {allowed}", ""


def _cores_elsewhere(options: Options) -> Findings:
    """Of hosts or of an allocation."""
    job = slurm.allocation()
    if options.hosts:
        room, where = sum(slots for _, slots in options.hosts), f"--hosts ({len(options.hosts)} of them)"
    else:
        assert job is not None
        room, where = job.cores, f"job {job.job}"
    detail = f"{where}: {_cores(room)}, {options.cores} rank{'s' * (options.cores != 1)}"
    if options.cores > room:
        yield "warning", detail, f"use --cores {room} or fewer"
    else:
        yield "ok", detail, ""


def _memory(patient: Patient) -> Findings:
    free = memory.available()
    if free is None:
        yield "warning", "the memory that is free here is not known", ""
        return
    room = f"{free / GB:.1f} GB free"
    if patient.experiment is None:
        yield "ok", f"{room}; with an experiment file, what it needs is compared", ""
        return
    ranks, needs = patient.options.cores, {}
    for name, run in patient.experiment.runs.items():
        try:
            method = methods.load(run.kind)
            plan = shards.plan(run.data, min(ranks, method.ranks or ranks))
            needs[name] = memory.estimate(
                plan, build_network(run, plan), trainer(run.kind, run.settings, run.loss)
            )
        except DataError as error:
            yield "warning", f"{room}; what is needed is not known: {_split(str(error))[0]}", _split(str(error))[1]
            return
        except MissingExtra:
            continue  # told below, by its own line
    refused = {}
    for name, needed in needs.items():
        try:
            memory.check_here(needed, ranks)
        except UserError as error:
            refused[name] = str(error)
    for name, reason in refused.items():
        detail, cure = _split(reason)
        yield "error", f"{name}: {detail}", cure
    if needs and not refused:
        largest = max(needs, key=lambda name: needs[name].per_rank(ranks))
        each = needs[largest].per_rank(ranks) / GB
        yield "ok", f"{room}; {patient.experiment.name} needs {each:.2f} GB per rank ({largest})", ""


def _disk(patient: Patient) -> Findings:
    for what, folder, variable in (
        ("results", root(), "ADMMCTL_RESULTS"),
        ("datasets", dataset.root(), "ADMMCTL_DATASETS"),
    ):
        place = folder.absolute()
        while not place.exists() and place != place.parent:
            place = place.parent
        free = shutil.disk_usage(place).free
        detail = f"{what} in {folder}: {free / GB:.1f} GB free"
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            yield (
                "error",
                f"{what} in {folder}: {place} cannot be written",
                f"change its permissions, or name another folder in {variable}",
            )
        elif free < LITTLE_DISK:
            state: State = "error" if free < NO_DISK else "warning"
            yield state, detail, f"free some space, or name another folder in {variable}"
        else:
            yield "ok", detail, ""


def _shared_memory(patient: Patient) -> Findings:
    if sys.platform != "linux":
        yield "ok", "not used on this system", ""
        return
    place = probes.SHM
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        yield "error", f"{place} cannot be written", f"mount it: mount -t tmpfs -o mode=1777 tmpfs {place}"
        return
    free = shutil.disk_usage(place).free
    if free < LITTLE_SHM:
        yield (
            "error" if free < NO_SHM else "warning",
            f"{free / 1e6:.0f} MB free: messages between ranks pass through it",
            f"remove what is left over in {place}, or give the container more: docker run --shm-size=1g",
        )
    else:
        yield "ok", f"{free / GB:.1f} GB free", ""


def _slurm(patient: Patient) -> Findings:
    job = slurm.allocation()
    inside = job is not None
    if shutil.which("srun") is None:
        if inside:
            yield "error", "this is an allocation, but there is no srun", "load the site's Slurm module"
        else:
            yield "ok", "not on this machine; ranks are started by mpiexec", ""
        return
    matters: State = "error" if inside else "warning"
    try:
        version = probes.said(["srun", "--version"])
    except RunFailed as failure:
        yield matters, str(failure), "set SLURM_CONF or ask the site, where this machine belongs to a cluster"
        return
    plugins = probes.slurm_mpi_plugins()
    detail = f"{version}, MPI by {', '.join(plugins) or 'nothing'}"
    if job is not None:
        detail += f", inside job {job.job}"
    wanted = patient.options.cluster.srun_plugin()
    if patient.options.cluster.by_srun() and wanted not in plugins:
        yield (
            matters,
            f"{detail}: no {wanted}, which this MPI needs",
            f"ask for Slurm's plug-in mpi_{wanted}, or use --launcher mpiexec",
        )
    else:
        yield "ok", detail, ""


def _library(name: str, extra_for: str) -> Callable[[Patient], Findings]:
    """The check of an optional library and its devices."""

    def examine(patient: Patient) -> Findings:
        found = probes.library(name)
        if found is None:
            install = f"pip install 'admmctl[{name}]'"
            needed = _needs(patient.experiment, name)
            if needed:
                yield "warning", f"not installed, and {', '.join(needed)} needs it", install
            else:
                yield "ok", f"not installed; {extra_for} would need it", ""
            return
        detail = f"{found['version']} on {', '.join(found['devices'])}"
        gpus = probes.gpus()
        if gpus and not found["gpu"]:
            yield (
                "warning",
                f"{detail}, but this machine has {gpus[0]}",
                f"install {name} for CUDA, and see that nvidia-smi's driver is recent enough for it",
            )
        else:
            yield "ok", detail, ""

    return examine


def _needs(experiment: Experiment | None, library: str) -> list[str]:
    """The methods of an experiment that use a library."""
    if experiment is None:
        return []
    runs = experiment.runs.items()
    return [
        name
        for name, run in runs
        if run.kind.startswith(f"{library}-") or getattr(run.settings, "backend", "") == library
    ]


def _cores(count: int) -> str:
    return f"{count} core{'s' * (count != 1)}"


CHECKS: dict[str, Callable[[Patient], Findings]] = {
    "admmctl": _admmctl,
    "MPI library": _mpi_library,
    "launcher": _launcher,
    "two ranks": _two_ranks,
    "BLAS": _blas,
    "numba": _numba,
    "cores": _cores_allowed,
    "memory": _memory,
    "disk": _disk,
    "/dev/shm": _shared_memory,
    "Slurm": _slurm,
    "torch": _library("torch", "torch-sgd and convex-admm with backend: torch"),
    "jax": _library("jax", "convex-admm with backend: jax"),
}
