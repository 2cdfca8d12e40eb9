"""``admmctl doctor``: whether this machine is fit to train on. A function per check; each names a cure.

A check that breaks or hangs is an error line like any other: the doctor always reports.
"""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from admmctl import __version__, kernels
from admmctl.data import dataset
from admmctl.errors import AdmmctlError, DataError, MissingExtra, UserError
from admmctl.experiment import config as configuration
from admmctl.experiment.config import Experiment
from admmctl.launch import local, slurm
from admmctl.launch.inherited import code, located_code
from admmctl.launch.launchers import find_mpiexec
from admmctl.launch.options import Options, check_options
from admmctl.methods.method import methods
from admmctl.runs import environment, memory
from admmctl.runs.build import build
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
    """What is examined: this machine for runs with these options, and an experiment if one is named."""

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
    """Every check. ``say`` is called with the name of each. Raises UserError for wrong usage only."""
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


Found = tuple[State, str, str]  # and the detail, and the cure


def _ok(detail: str) -> list[Found]:
    return [("ok", detail, "")]


def _warning(detail: str, cure: str) -> list[Found]:
    return [("warning", detail, cure)]


def _error(detail: str, cure: str) -> list[Found]:
    return [("error", detail, cure)]


def _admmctl(patient: Patient) -> list[Found]:
    packages = " ".join(f"{name} {environment.package_version(name)}" for name in ("numpy", "scipy"))
    return _ok(f"{__version__}, Python {platform.python_version()}, {packages}, {platform.system()}")


def _launcher(patient: Patient) -> list[Found]:
    two = replace(patient.options, cores=2)
    two.chosen().check(two)
    if two.chosen().name == "srun":
        return _ok(f"srun --mpi={two.cluster.srun_plugin()}, in job {os.environ['SLURM_JOB_ID']}")
    program = find_mpiexec(two.cluster.mpiexec)
    started, library = probes.family(probes.version(program).out), probes.family(probes.mpi_library())
    if started is None or library is None:
        return _ok(f"{program}, of a family that is not known")
    if started != library:
        return _error(
            f"{program} is of {started}, but the MPI library of this Python of {library}",
            f"unset ADMMCTL_MPIEXEC, or install both of one family: {probes.REINSTALL}",
        )
    return _ok(f"{program}, {started} like the library")


def _two_ranks(patient: Patient) -> list[Found]:
    two = replace(patient.options, cores=max(2, len(patient.options.hosts)))
    two.chosen().check(two)
    command = two.command(probes.MPI, 1)
    found = probes.mpi(command.line, command.environment)
    if found["size"] != two.cores:
        return _error(
            f"{two.cores} ranks were started and each believes to be alone: the launcher does not belong to "
            f"{found['library']}",
            f"unset ADMMCTL_MPIEXEC, or reinstall both: {probes.REINSTALL}",
        )
    if found["codes"] != [code()]:
        return _error(
            f"the ranks run admmctl {' and '.join(found['codes'])}, and this is {located_code()}",
            "install the same version on every host, and let PYTHONPATH name no other checkout",
        )
    if not found["right"]:
        wrong = f"the Allreduce of {found['library']} gave a wrong sum"
        return _error(wrong, "reinstall: pip install mpich mpi4py")
    hosts = " and ".join(found["hosts"])
    return _ok(f"an Allreduce of 1 MiB on {hosts} took {1e3 * found['seconds']:.2g} ms")


def _blas(patient: Patient) -> list[Found]:
    read, cores = local.thread_variables(), local.available_cores()
    named = {name: os.environ[name] for name in local.THREAD_VARIABLES if name in os.environ}
    detail = ", ".join(environment.blas()) or "unknown"
    for name, value in named.items():
        detail += f", {name}={value}" + ("" if name in read else " (which it does not read)")
    threads = local.threads_in_environment()
    wanted = patient.options.cores * (threads or 1)
    if threads is None and any(name in read for name in named):
        return _warning(
            f"{detail}: not a number of threads; one per rank is used", "set it to a number, or unset it"
        )
    if threads is not None and wanted > cores:
        return _warning(
            f"{detail}: {wanted} threads in all on {_cores(cores)}",
            "unset it: one thread per rank is the default",
        )
    return _ok(detail if threads is not None else f"{detail}, one thread per rank")


def _numba(patient: Patient) -> list[Found]:
    block = np.zeros((2, 2), np.float32)
    kernels.z_relu(block, block.copy(), block.copy(), 1.0, 1.0)  # only a call shows whether it works
    trouble = kernels.trouble()
    return _warning(*_split(trouble)) if trouble else _ok(kernels.described())


def _cores_allowed(patient: Patient) -> list[Found]:
    options, ranks = patient.options, patient.options.cores
    allowed, where = options.room() or (local.available_cores(), local.HERE)
    if where != local.HERE:
        hosts = f" ({len(options.hosts)} of them)" if options.hosts else ""
        detail = f"{where}{hosts}: {_cores(allowed)}, {ranks} rank{'s' * (ranks != 1)}"
        return _warning(detail, f"use --cores {allowed} or fewer") if ranks > allowed else _ok(detail)
    present = os.cpu_count() or 1
    detail = f"{_cores(allowed)} allowed" + (f" of {present}" if present != allowed else "")
    quota = probes.cpu_quota()
    if quota is not None and quota < allowed:
        detail += f", with the processor time of {quota:g} (a container's limit)"
        allowed = max(1, int(quota))
    if ranks > allowed:
        return _warning(
            f"{detail}, and {ranks} ranks",
            f"use --cores {allowed} or fewer; with --oversubscribe ranks share cores: correct, but slower",
        )
    return _ok(f"{detail}: --cores up to {allowed}")


def _memory(patient: Patient) -> list[Found]:
    free = memory.available()
    if free is None:
        return _warning("the memory that is free here is not known", "")
    room = f"{free / GB:.1f} GB free"
    if patient.experiment is None:
        return _ok(f"{room}; with an experiment file, what it needs is compared")
    ranks, needs, refused = patient.options.cores, {}, []
    for name, run in patient.experiment.runs.items():
        try:
            method = methods.load(run.kind)
            needed = build(run, min(ranks, method.ranks or ranks)).memory()
            needs[name] = needed.per_rank(ranks) / GB
            memory.check_here(needed, ranks)
        except DataError as error:
            detail, cure = _split(str(error))
            return _warning(f"{room}; what is needed is not known: {detail}", cure)
        except MissingExtra:
            continue  # its own line names it
        except UserError as error:
            if name not in needs:
                raise
            refused += _error(*_split(f"{name}: {error}"))
    if refused or not needs:
        return refused
    largest = max(needs, key=lambda name: needs[name])
    return _ok(f"{room}; {patient.experiment.name} needs {needs[largest]:.2f} GB per rank ({largest})")


def _disk(patient: Patient) -> list[Found]:
    found: list[Found] = []
    for what, folder, variable in (
        ("results", root(), "ADMMCTL_RESULTS"),
        ("datasets", dataset.root(), "ADMMCTL_DATASETS"),
    ):
        place = folder.absolute()
        while not place.exists() and place != place.parent:
            place = place.parent
        free = shutil.disk_usage(place).free
        detail = f"{what} in {folder}: {free / GB:.1f} GB free"
        if not _writable(place):
            cure = f"change its permissions, or name another folder in {variable}"
            found += _error(f"{what} in {folder}: {place} cannot be written", cure)
        elif free < LITTLE_DISK:
            cure = f"free some space, or name another folder in {variable}"
            found += _error(detail, cure) if free < NO_DISK else _warning(detail, cure)
        else:
            found += _ok(detail)
    return found


def _writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _shared_memory(patient: Patient) -> list[Found]:
    if sys.platform != "linux":
        return _ok("not used on this system")
    place = probes.SHM
    if not _writable(place):
        return _error(f"{place} cannot be written", f"mount it: mount -t tmpfs -o mode=1777 tmpfs {place}")
    free = shutil.disk_usage(place).free
    if free < LITTLE_SHM:
        return (_error if free < NO_SHM else _warning)(
            f"{free / 1e6:.0f} MB free: messages between ranks pass through it",
            f"remove what is left over in {place}, or give the container more: docker run --shm-size=1g",
        )
    return _ok(f"{free / GB:.1f} GB free")


def _slurm(patient: Patient) -> list[Found]:
    job = slurm.allocation()
    if shutil.which("srun") is None:
        if job is not None:
            return _error("this is an allocation, but there is no srun", "load the site's Slurm module")
        return _ok("not on this machine; ranks are started by mpiexec")
    trouble = _warning if job is None else _error
    answer = probes.version("srun")
    if answer.code:
        return trouble(
            f"srun failed: {answer.last_line()}",
            "set SLURM_CONF or ask the site, where this machine belongs to a cluster",
        )
    plugins = slurm.mpi_plugins()
    detail = f"{answer.out.strip()}, MPI by {', '.join(plugins) or 'nothing'}"
    detail += "" if job is None else f", inside job {job.job}"
    wanted = patient.options.cluster.srun_plugin()
    if patient.options.cluster.by_srun() and wanted not in plugins:
        return trouble(
            f"{detail}: no {wanted}, which this MPI needs",
            f"ask for Slurm's plug-in mpi_{wanted}, or use --launcher mpiexec",
        )
    return _ok(detail)


def _library(name: str, extra_for: str, extra: str | None = None) -> Callable[[Patient], list[Found]]:
    """The check of an optional library, which an ``extra`` of its own name or another brings, and its devices."""

    def examine(patient: Patient) -> list[Found]:
        found = probes.library(name)
        if found is None:
            needed = _needs(patient.experiment, name)
            if needed:
                install = f"pip install 'admmctl[{extra or name}]'"
                return _warning(f"not installed, and {', '.join(needed)} needs it", install)
            return _ok(f"not installed; {extra_for} would need it")
        if found["gpu"] is None:
            return _ok(found["version"])
        detail, gpus = f"{found['version']} on {', '.join(found['devices'])}", probes.gpus()
        if gpus and not found["gpu"]:
            return _warning(
                f"{detail}, but this machine has {gpus[0]}",
                f"install {name} for CUDA, and see that nvidia-smi's driver is recent enough for it",
            )
        version = probes.driver() if found["gpu"] else ""
        return _ok(f"{detail}, driver {version}" if version else detail)

    return examine


def _needs(experiment: Experiment | None, library: str) -> list[str]:
    """The methods of an experiment that use a library."""
    if experiment is None:
        return []
    return [
        name
        for name, run in experiment.runs.items()
        if run.kind.startswith(f"{library}-")
        or library in (getattr(run.settings, "backend", ""), getattr(run.settings, "library", ""))
    ]


def _cores(count: int) -> str:
    return f"{count} core{'s' * (count != 1)}"


CHECKS: dict[str, Callable[[Patient], list[Found]]] = {
    "admmctl": _admmctl,
    "MPI library": lambda patient: _ok(probes.mpi_library()),
    "launcher": _launcher,
    "two ranks": _two_ranks,
    "BLAS": _blas,
    "numba": _numba,
    "cores": _cores_allowed,
    "memory": _memory,
    "disk": _disk,
    "/dev/shm": _shared_memory,
    "Slurm": _slurm,
    "torch": _library("torch", "torch-sgd and methods with backend: torch"),
    "jax": _library("jax", "convex-admm with backend: jax"),
    "LightGBM": _library("lightgbm", "trees", "trees"),
    "scikit-learn": _library("sklearn", "trees with library: sklearn", "trees"),
}
