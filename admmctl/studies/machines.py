"""Machines that a cost model can be moved to: their files, ``configs/clusters/NAME.yaml``."""

from pathlib import Path

from pydantic import Field, ValidationError

from admmctl.errors import ConfigError, UserError
from admmctl.explain import explain, report
from admmctl.registry import suggest
from admmctl.schema import MAX_NAME, NAME
from admmctl.settings import Count, NonNegative, Positive, Settings
from admmctl.yamlfile import read

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


class Machine(Settings):
    """A machine's file."""

    name: str = Field(pattern=f"^{NAME}$", max_length=MAX_NAME)
    title: str = Field(min_length=1, description="for people: on figures and in reports")
    source: list[str] = Field(min_length=1, description="where the numbers are from")
    cores: Count = Field(description="how many there are: curves end here")
    processor: Processor
    network: Interconnect


def load_machine(machine: str | Path) -> Machine:
    """The machine that a path, or the name of a file of ``configs/clusters``, stands for.

    Raises UserError for an unknown name, with those there are, and ConfigError with every problem of a
    file: its line, key, and what was expected.
    """
    document = read(
        _find(machine), "a machine is a mapping with the keys name, title, source, cores, processor, network"
    )
    try:
        return Machine.model_validate(document.content)
    except ValidationError as error:
        raise ConfigError(report(document, explain(error, Machine, (), ()))) from None


def machines() -> list[str]:
    """The names that ``load_machine`` knows here."""
    return sorted({path.stem for folder in FOLDERS for path in folder.glob("*.yaml")})


def _find(machine: str | Path) -> Path:
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
