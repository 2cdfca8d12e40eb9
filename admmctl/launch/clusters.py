"""Clusters and machines: their files, ``configs/clusters/NAME.yaml``, to start jobs on or to predict times for."""

from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from admmctl.errors import ConfigError, UserError
from admmctl.experiment.explain import explain, report
from admmctl.experiment.schema import MAX_NAME, NAME
from admmctl.experiment.yamlfile import read
from admmctl.launch.cluster import Launch
from admmctl.registry import suggest
from admmctl.settings import Count, NonNegative, Positive, Settings

# Of the current folder, then of a checkout of the repository: beside the package.
FOLDERS = (Path("configs/clusters"), Path(__file__).resolve().parents[2] / "configs" / "clusters")


class Processor(Settings):
    """The ``processor:`` block: a node and its cores."""

    cores_per_node: Count
    memory_per_node_gb: Positive
    gflops_per_core: Positive = Field(description="single-precision matrix-product peak, GFLOP/s")


class Interconnect(Settings):
    """The ``network:`` block: what an Allreduce costs a rank of a full node."""

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
    """The same file where a cost model is moved to it: then its numbers are needed."""

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
    """The same for a file of which only ``launch`` matters."""
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
    if not known:
        raise UserError(
            f"unknown machine '{machine}': there is no configs/clusters folder here; give the path of its file"
        )
    raise UserError(f"unknown machine '{machine}'{suggest(str(machine), known)}; or give the path of its file")
