"""A scaling study: study.json, which says what is timed and on what machine, and the numbers that came of it."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from admmctl.errors import UserError
from admmctl.files import locked, write_json
from admmctl.studies.model import CostModel, HeldOut

FILE = "study.json"


class _Open(BaseModel):
    """Keys that are not named here are kept: ``runs.bench.measure`` finds more."""

    model_config = ConfigDict(extra="allow")


class Exchange(_Open):
    """A message of that many bytes."""

    bytes: int
    seconds: FiniteFloat
    verb: Literal["allreduce", "reduce_scatter", "allgather"] = "allreduce"


class Machine(_Open):
    """This machine on a number of cores; ``message_bytes`` are those of one iteration of the method.

    ``allreduce`` are those of many sizes, ``exchanges`` the method's own messages by other verbs.
    """

    ranks: int
    cores: int = 1
    allreduce: list[Exchange]
    exchanges: list[Exchange] = []
    message_bytes: list[int]
    gemm_gflops: FiniteFloat


class Asked(BaseModel):
    """What an iteration asks of a number of ranks, as ``model.Demand`` has it."""

    work: FiniteFloat
    messages: list[tuple[str, int]]


class SmallStep(_Open):
    """An iteration on hardly any rows, on one core; of older studies the processor time is not known."""

    rows_per_iteration: int
    phases: dict[str, FiniteFloat]
    cpu_phases: dict[str, FiniteFloat] = {}


class NoSmallStep(BaseModel):
    """Why there is no such iteration: the method needs more rows."""

    error: str


class Study(_Open):
    """study.json. ``goal`` is what is timed: the run up to its target, or so many ``iterations``."""

    kind: Literal["scaling"] = "scaling"
    experiment: str
    method: str
    method_kind: str
    data: str
    goal: Literal["target", "iterations"]
    iterations: int | None
    weak: bool
    metric: str
    target: FiniteFloat | None
    batch: int | None  # rows of an iteration, where it is not all of them
    asked: dict[str, Asked] = {}  # by number of cores; a study from before it was counted has none
    machine: dict[str, Machine] = {}  # by number of cores
    small: SmallStep | NoSmallStep | None = None

    @classmethod
    def read(cls, folder: Path) -> "Study | None":
        """The study of that folder; None where there is none. Raises UserError when it is damaged."""
        path = folder / FILE
        try:
            return cls.model_validate(json.loads(path.read_text()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            problem = f"does not describe a scaling study ({where and f'{where}: '}{first['msg']})"
        except (OSError, ValueError, RecursionError) as error:
            problem = f"cannot be read ({error})"
        raise UserError(f"{path} {problem}; remove the folder to start the study anew")

    def write(self, folder: Path, say: Callable[[str], None]) -> None:
        """Write study.json. What other parts of the study have measured meanwhile stays."""
        with locked(folder / FILE, "writing", say):
            latest = Study.read(folder) or self
            latest.machine |= self.machine
            latest.asked = latest.asked or self.asked
            latest.small = latest.small or self.small
            write_json(folder / FILE, latest.model_dump())


@dataclass
class CoreCount:
    """The runs on one number of cores: every time, and medians. NaN where a miss leaves nothing to compare.

    ``shared``: ranks shared cores, and the times are processor time. ``disturbed``: other work took the cores of
    all these runs, and no speed-up is told; where it took those of some, they are none of these.
    """

    cores: int
    shared: bool
    rows: int
    runs: int
    reached: int
    seconds: list[float]
    median_s: float
    iterations: list[int]
    iterations_reached: list[int]
    seconds_per_iteration: float
    phases: dict[str, float]
    disturbed: bool = False
    speed_up: float = math.nan
    efficiency: float = math.nan


@dataclass(frozen=True)
class Curve:
    """The cost model, its parts and its bounds against cores, in seconds to the goal."""

    cores: list[float]
    seconds: list[float]
    compute: list[float]
    solve: list[float]
    reduce: list[float]
    ideal: list[float]
    amdahl: list[float]


@dataclass(frozen=True)
class Fitted(CostModel):
    """The cost model, and its errors on core counts that it was not fitted to."""

    held_out: list[HeldOut]


@dataclass(frozen=True)
class OtherMachine:
    """The model moved to a machine of a file."""

    name: str
    title: str
    source: list[str]
    curve: Curve


@dataclass(frozen=True)
class Findings:
    """A study in numbers: what ``scaling --json`` prints and ``scaling-plot`` draws. ``study`` is its folder."""

    study: str
    experiment: str
    method: str
    method_kind: str
    data: str
    goal: str
    iterations: int | None
    weak: bool
    metric: str
    target: float | None
    batch: int | None
    points: list[CoreCount]
    model: Fitted
    curve: Curve
    machine: OtherMachine | None
    warnings: list[str]
    data_made_up: bool = False
