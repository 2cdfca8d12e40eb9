"""Files of clusters, ``configs/clusters/NAME.yaml``: to start jobs there, or to predict times. And ``--hosts``."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError

from admmctl.errors import ConfigError, UserError
from admmctl.experiment import bundled
from admmctl.experiment.explain import explain, report
from admmctl.experiment.schema import MAX_NAME, NAME
from admmctl.experiment.yamlfile import read
from admmctl.registry import suggest
from admmctl.settings import Count, NonNegative, Positive, Settings

FOLDERS = tuple(folder / "clusters" for folder in bundled.FOLDERS)

# A value on one line of a job script, or of an environment.
Line = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$")]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:+-]{0,99}$")]
Mpi = Literal["mpich", "openmpi", "intel", "cray"]
Binding = Literal["core", "socket", "numa", "none"]

# A name or an IPv4 address, which mpiexec, ssh and a shell take for nothing else.
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")
_SLOTS = re.compile(r"(?:[ \t]*:[ \t]*|[ \t]+slots[ \t]*=[ \t]*|[ \t]+)(\d{1,6})$")
_PLUGINS = {"mpich": "pmi2", "openmpi": "pmix", "intel": "pmi2", "cray": "cray_shasta"}


def _are_nodes(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.,\[\]-]{0,999}", text):
        raise ValueError("expected nodes as Slurm writes them, for instance n7 or n[10-12,20]")
    return text


Nodes = Annotated[str, AfterValidator(_are_nodes)]


class Resources(Settings):
    """What a job asks the scheduler for; every key may be left out."""

    partition: Line | None = None
    account: Line | None = None
    qos: Line | None = None
    constraint: Line | None = None
    reservation: Line | None = None
    time: str | None = Field(
        default=None,
        pattern=r"^(\d{1,4}-)?\d{1,6}(:\d{2}){0,2}$",
        description='of a job, in quotes: "30" minutes, "12:00:00", "2-00:00:00"',
    )
    memory_per_node: str | None = Field(default=None, pattern=r"^\d{1,9}[KMGT]?$", description="64G; 0 is all")
    gpus_per_task: Count | None = Field(default=None, description="GPUs of every rank, for device: cuda")
    exclude: tuple[Nodes, ...] = Field(default=(), strict=False, description="nodes that get no job: n7, n[10-12]")


class Launch(Resources):
    """The ``launch:`` block of a cluster's file; every key may be left out."""

    methods: dict[str, Resources] = Field(default={}, description="by method or kind: what its jobs have instead")
    ranks_per_node: Count | None = None
    modules: tuple[Line, ...] = Field(default=(), strict=False, description="loaded in the job, in this order")
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], Line] = Field(default={})
    options: tuple[Line, ...] = Field(default=(), strict=False, description="more #SBATCH options, --key=value")
    mpi: Mpi = Field(default="mpich", description="the family of this Python's MPI library")
    plugin: Word | None = Field(default=None, description="srun --mpi=...; jobs then start their ranks by srun")
    mpiexec: Line | None = Field(default=None, description="the site's own launcher")
    interface: Word | None = Field(default=None, description="network interface of the ranks: eth0")
    binding: Binding | None = Field(default=None, description="what a rank is bound to")
    start_seconds: Positive | None = Field(
        default=None, description="how long a start may take in which no further rank says a word"
    )

    def of(self, method: str, kind: str) -> "Launch":
        """The block for jobs of that method: what ``methods`` says of it, or else of its kind, stands above."""
        own = self.methods.get(method) or self.methods.get(kind)
        if own is None:
            return self
        return self.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})

    def by_srun(self) -> bool:
        """Whether srun starts the ranks of a job itself; else mpiexec does, by proxies that srun starts.

        Slurm's pmi2 reads the messages of MPICH's ranks in pieces of 1,024 bytes, and now and then takes a longer
        one for two ("value not properly terminated"). It needs minutes for 96 ranks, mpiexec 20 s. So srun is for
        those who name a plug-in, and for the MPI families that need it.
        """
        return self.plugin is not None or self.mpi in ("openmpi", "cray")

    def srun_plugin(self) -> str:
        return self.plugin or _PLUGINS[self.mpi]


class Processor(Settings):
    """The ``processor:`` block: a node and its cores."""

    cores_per_node: Count
    memory_per_node_gb: Positive
    gflops_per_core: Positive = Field(description="single-precision matrix-product peak, GFLOP/s")


class Interconnect(Settings):
    """The ``network:`` block: what an Allreduce costs each rank of a full node."""

    latency_s: Positive = Field(description="seconds per message: alpha")
    seconds_per_byte: Positive = Field(description="per byte sent: beta")
    seconds_per_byte_summed: NonNegative = Field(description="per byte of a partial sum: gamma")


class Cluster(Settings):
    """A cluster's file. To start jobs, ``launch`` is enough."""

    name: str = Field(pattern=f"^{NAME}$", max_length=MAX_NAME)
    title: str | None = Field(default=None, min_length=1, description="for people: on figures and in reports")
    source: list[str] | None = Field(default=None, min_length=1, description="where the numbers are from")
    cores: Count | None = Field(default=None, description="how many there are: curves end here")
    processor: Processor | None = None
    network: Interconnect | None = None
    launch: Launch = Launch()


class Machine(Cluster):
    """A cluster's file with all the numbers that a cost model needs to be moved to it."""

    title: str = Field(min_length=1)
    source: list[str] = Field(min_length=1)
    cores: Count
    processor: Processor
    network: Interconnect


File = TypeVar("File", bound=Cluster)


def load_machine(machine: str | Path) -> Machine:
    """The machine that a path, or the name of a file of ``configs/clusters``, stands for.

    Raises UserError for an unknown name, with those there are, and ConfigError with every problem of a
    file: its line, key, and what was expected.
    """
    return _load(
        machine, Machine, "a machine is a mapping with the keys name, title, source, cores, processor, network"
    )


def load_cluster(cluster: str | Path) -> Cluster:
    """Like ``load_machine``, for a file of which ``launch`` alone is needed."""
    return _load(cluster, Cluster, "a cluster is a mapping with the keys name, launch")


def _load(name: str | Path, kind: type[File], what: str) -> File:
    document = read(cluster_file(name), what)
    try:
        return kind.model_validate(document.content)
    except ValidationError as error:
        raise ConfigError(report(document, explain(error, kind, (), ()))) from None


def machines() -> list[str]:
    """The names that ``load_machine`` knows here."""
    return sorted({path.stem for folder in FOLDERS for path in folder.glob("*.yaml")})


def cluster_file(machine: str | Path) -> Path:
    """The file that a path, or a name, stands for. Raises UserError for an unknown name."""
    path = Path(machine)
    if path.is_file() or path.suffix in (".yaml", ".yml") or len(path.parts) != 1:
        return path
    for folder in FOLDERS:
        if (folder / f"{machine}.yaml").is_file():
            return folder / f"{machine}.yaml"
    known = machines()
    hint = f"{suggest(str(machine), known)}; or" if known else ": there is no configs/clusters folder here;"
    raise UserError(f"unknown machine '{machine}'{hint} give the path of its file")


Host = tuple[str, int]  # its name, and how many ranks it takes


def parse_hosts(text: str) -> tuple[Host, ...]:
    """``--hosts``: 'h1:8,h2:8', or a file with a line per host: ``h1:8``, ``h1 slots=8``, ``h1``.

    Raises UserError for what is no host name, and for hosts that take no ranks.
    """
    path = Path(text)
    try:
        listed = path.read_text().splitlines() if path.is_file() else None
    except (OSError, ValueError) as error:
        raise UserError(f"--hosts {text}: the file cannot be read: {error}") from None
    entries = [line.partition("#")[0].strip() for line in (text.split(",") if listed is None else listed)]
    slots: Counter[str] = Counter()
    for entry in filter(None, entries):
        found = _SLOTS.search(entry)
        name = entry[: found.start()] if found else entry
        count = int(found[1]) if found else 1
        if not _HOST.fullmatch(name) or count < 1:
            hint = "" if listed is not None else "; nor is there such a file"
            raise UserError(f"--hosts: '{entry}' is no host: expected NAME or NAME:RANKS, as in h1:8,h2:8{hint}")
        slots[name] += count
    if not slots:
        raise UserError(f"--hosts {text}: no hosts; expected h1:8,h2:8 or a file with a line per host")
    return tuple(slots.items())


def shares(hosts: tuple[Host, ...], jobs: int, ranks: int) -> list[tuple[Host, ...]]:
    """The hosts of each of ``jobs`` that run at once, with ``ranks`` places each; no place is in two of them.

    Raises UserError where the hosts have fewer places.
    """
    places = [name for name, slots in hosts for _ in range(slots)]
    if jobs * ranks > len(places):
        raise UserError(
            f"--jobs {jobs} on --ranks {ranks} take {jobs * ranks} places, and --hosts has {len(places)}"
        )
    return [tuple(Counter(places[ranks * job : ranks * (job + 1)]).items()) for job in range(jobs)]
