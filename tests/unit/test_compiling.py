"""Compiled loops: none is compiled while a clock runs, and runs go on without numba or without its cache."""

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.problems import problem
from support.ranks import CountingComm

import admmctl
from admmctl import kernels, table_kernels
from admmctl.data import hog
from admmctl.methods.method import methods, start
from admmctl.runs import clock, worker

needs_numba = pytest.mark.skipif(not kernels.COMPILED, reason="numba is not here")

# -- nothing compiles while a clock runs

# Name: method, and what differs from the experiment of the test.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    # Blocks of several sizes, a layer of one unit, and wide ones.
    "admm, layers": ("admm", {"network": {"layers": [30, 1, 40]}, "data": {"rows": 9001}}),
    "admm, outputs": ("admm", {"network": {"outputs": 2}}),
    "admm, no bias": ("admm", {"network": {"layers": [20, 30], "bias": False}}),
    "admm, paper": ("admm", {"preset": "paper"}),
    "admm, backward": ("admm", {"sweep": "backward_first"}),
    "admm, hinge": ("admm", {"loss": "hinge"}),
    "admm, stream": ("admm", {"data": {"stream": True}}),
    **{
        f"admm, {update}": ("admm", {"network": {"layers": [30, 30]}, "w_update": update, "min_width": 10})
        for update in ("nystrom", "nystrom-pcg")
    },
    **{
        f"{method}, {h}": (method, {"network": {"layers": [20, 30], "activation": h}})
        for method, h in (
            *(("admm", h) for h in ("hard-sigmoid", "dcutlu(-1, 1)", "tanh", "sigmoid", "cosine")),
            ("classical-admm", "hard-sigmoid"),
            ("classical-admm", "tanh"),
            ("stochastic-admm", "cosine"),
        )
    },
    "admm-printed, tanh": ("admm-printed", {"network": {"activation": "tanh", "bias": False}}),
    "classical-admm": ("classical-admm", {"warm_iterations": 1}),
    "classical-admm, no bias": ("classical-admm", {"network": {"bias": False}}),
    "graph-admm": ("graph-admm", {"network": {"outputs": 2}}),
    "graph-admm, batch": ("graph-admm", {"batch": 500}),
    "graph-admm, paper": (
        "graph-admm",
        {"network": {"layers": [9], "activation": "dcutlu"}, "preset": "paper", "batch": 500},
    ),
    "graph-admm, inner": ("graph-admm", {"network": {"layers": [9], "activation": "hard-sigmoid"}, "inner": 2}),
    "trees": ("trees", {"loss": "cross-entropy"}),
    "convex-admm": ("convex-admm", {"patterns": 4, "loss": "signed-squared"}),
    **{
        method: (method, {})
        for method in (
            *(
                "admm",
                "admm-printed",
                "stochastic-admm",
                "sgd",
                "adam",
                "gd",
                "foof",
                "kfac",
                "muon",
                "cg",
                "lbfgs",
                "linear",
            ),
            *("random-features", "torch-sgd", "torch-adam", "torch-lbfgs"),
        )
    },
}


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Loops that nobody has called yet; what would be compiled for them, and in which phase of the clock."""
    import numba

    clocks: list[clock.Clock] = []
    compiled: list[tuple[str, str | None]] = []

    def noted(loop: Any) -> Callable[..., None]:
        """The loop, which notes its first call with each type of arguments: numba compiles at that."""
        seen = set()

        def called(*given: Any) -> None:
            types = tuple(numba.typeof(value) for value in given)
            if types not in seen:
                seen.add(types)
                phase = clocks[-1].timed if clocks else None
                compiled.append((loop.py_func.__name__, phase))
            loop(*given)

        return called

    for module in (kernels, table_kernels, hog):
        for found in vars(module).values():
            if isinstance(found, kernels.Kernel):
                monkeypatch.setattr(found, "loop", noted(found.loop))

    class Watched(clock.Clock):
        watched = clocks

        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            clocks.append(self)

    monkeypatch.setattr(worker, "Clock", Watched)
    return compiled


@needs_numba
@pytest.mark.parametrize("case", CASES)
def test_nothing_compiles_while_the_clock_runs(
    case: str, fresh: list[tuple[str, str | None]], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, changes = CASES[case]
    given = {**changes}
    copied: list[Any] = []
    monkeypatch.setattr(kernels, "_standard", lambda x: copied.append(x.shape) or np.require(x, None, "CAW"))
    experiment = {
        "name": "compiling",
        "data": {"name": "swissroll", "rows": 3001, **given.pop("data", {})},
        "network": {"layers": [20, 7], **given.pop("network", {})},
        "loss": given.pop("loss", "squared"),
        "methods": {method: given},
        "stop": {"iterations": 3},
    }
    try:
        (summary,) = admmctl.train(experiment)
    except admmctl.errors.MissingExtra as missing:
        pytest.skip(str(missing))
    assert summary["iterations"] >= 1
    assert worker.Clock.watched
    assert [found for found in fresh if found[1] is not None] == []
    own = {name for name, _ in fresh}
    if method in ("admm", "admm-printed", "classical-admm", "stochastic-admm", "graph-admm"):
        assert own & {"z_relu", "z_cut", "read", "graph_hidden"}
    else:
        assert own == set()  # and nothing is compiled for nothing
    assert kernels.trouble() == ""
    assert copied == []  # every block was laid out as the loops want it


def test_every_method_is_among_them() -> None:
    assert {method for method, _ in CASES.values()} == {*methods}


def test_a_method_is_prepared_and_waited_for_before_it_starts() -> None:
    calls: list[str] = []

    class Comm(CountingComm):
        def barrier(self) -> None:
            calls.append("barrier")

    class Prepared:
        def prepare(self, of: Any) -> None:
            calls.append("prepare")

        def init(self, of: Any) -> str:
            calls.append("init")
            return "state"

    assert start(Prepared(), problem([3], comm=Comm())) == "state"
    assert calls == ["prepare", "barrier", "init"]


# -- any layout is one and the same loop


@needs_numba
@pytest.mark.parametrize("layout", ["C", "F", "strided", "read-only"])
def test_a_layout_that_is_not_ours_is_neither_compiled_for_nor_lost(layout: str) -> None:
    generator = np.random.default_rng(0)
    z, a, m = (generator.standard_normal((9, 5)).astype(np.float32) for _ in range(3))
    expected = z.copy()
    kernels.z_relu(expected, a, m, 2.0, 1.0)
    before = len(kernels.z_relu.loop.signatures)
    if layout == "F":
        z, a, m = (np.asfortranarray(x) for x in (z, a, m))
    elif layout == "strided":
        z, a, m = (np.repeat(x, 2, axis=1)[:, ::2] for x in (z, a, m))
    elif layout == "read-only":
        a.flags.writeable = m.flags.writeable = False
    kernels.z_relu(z, a, m, 2.0, 1.0)
    np.testing.assert_array_equal(z, expected)
    assert len(kernels.z_relu.loop.signatures) == before


# -- without numba, or without its cache

RUN = """
import json, sys
{before}
import admmctl
from admmctl import kernels
(run,) = admmctl.train({experiment})
log = open(run["folder"] + "/log.txt").read()
print(json.dumps([run["final_test_accuracy"], log.count(kernels.trouble() or "nothing"), kernels.trouble()]))
"""


def experiment_of(h: str) -> dict[str, Any]:
    """A short run of an activation, below a layer of few units and below one of many."""
    return {
        "name": "fallback",
        "data": {"name": "swissroll", "rows": 400},
        "network": {"layers": [8, 20], "activation": h},
        "loss": "squared",
        "methods": {"admm": {}},
        "stop": {"iterations": 4},
    }


def in_a_process(tmp_path: Path, before: str = "", h: str = "relu", **variables: str) -> tuple[float, int, str]:
    """Accuracy, how often the run said what is wrong, and that, of a run in a process of its own."""
    environment = {**os.environ, "ADMMCTL_RESULTS": str(tmp_path / "results"), **variables}
    del environment["ADMMCTL_KERNELS"]
    code = RUN.format(before=before, experiment=experiment_of(h))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    accuracy, times, message = json.loads(done.stdout.splitlines()[-1])
    return accuracy, times, message


NO_FOLDER = "import numba.core.caching as c; c.CacheImpl._locator_classes = []"
FULL = """
import numba.core.caching as c
def save(*given): raise OSError(28, "No space left on device")
c.IndexDataCacheFile.save = save
"""
FAILS = """
import numba.core.dispatcher as d
def compile(*given): raise RuntimeError("no code for this processor")
d.Dispatcher.compile = compile
"""
SET = "import os; os.environ['{}'] = '{}'"
SLOWER = "element-wise loops run on NumPy, with the same results, slower"
ANEW = "loops are compiled anew in every process"
# Name: what the process does first, the activation, and what it says.
FAULTS = {
    "no folder": (NO_FOLDER, "hard-sigmoid", f"numba's cache has no folder: {ANEW}"),
    "full disk": (FULL, "tanh", f"numba's cache fails (OSError: [Errno 28] No space left on device): {ANEW}"),
    "no compiler": (FAILS, "relu", f"numba fails (RuntimeError: no code for this processor): {SLOWER}"),
    "no numba": ("sys.modules['numba'] = None", "relu", "numba cannot be loaded (import of numba halted; None in"),
    "no compiling": (
        SET.format("NUMBA_DISABLE_JIT", 1),
        "hard-sigmoid",
        f"NUMBA_DISABLE_JIT is set: {SLOWER}; unset",
    ),
    "NumPy was asked for": (SET.format("ADMMCTL_KERNELS", "numpy"), "relu", ""),
}


@needs_numba
@pytest.mark.parametrize(("before", "h", "message"), FAULTS.values(), ids=FAULTS)
def test_a_run_goes_on_without_numba_or_its_cache_and_says_so_once(
    before: str, message: str, h: str, tmp_path: Path
) -> None:
    accuracy, times, trouble = in_a_process(tmp_path, before, h, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert message in trouble
    assert bool(message) == bool(trouble)
    assert times == bool(message)
    assert accuracy == pytest.approx(in_this_process(h), abs=0.02)


@functools.cache
def in_this_process(h: str) -> float:
    """The accuracy where all is well."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("ADMMCTL_RESULTS", folder)
        (run,) = admmctl.train(experiment_of(h))
    return float(run["final_test_accuracy"])


@needs_numba
def test_a_numba_that_breaks_while_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text("raise SystemError('initialization\\nof _internal failed')")
    _, times, message = in_a_process(tmp_path, f"sys.path.insert(0, {str(tmp_path)!r})")
    assert message.startswith("numba cannot be loaded (initialization of _internal failed): ")
    assert times == 1


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which numba has kept what a run compiled."""
    folder = tmp_path_factory.mktemp("cached")
    in_a_process(folder, h="hard-sigmoid", NUMBA_CACHE_DIR=str(folder / "cache"))
    return folder / "cache"


@needs_numba
@pytest.mark.parametrize("damage", ["rubbish", "a folder"])
def test_a_damaged_cache_is_done_without(damage: str, cached: Path, tmp_path: Path) -> None:
    shutil.copytree(cached, tmp_path / "cache")
    indices = list((tmp_path / "cache").rglob("*.nbi"))
    assert indices
    for index in indices:
        index.unlink()
        if damage == "rubbish":
            index.write_bytes(b"rubbish")
        else:
            index.mkdir()
    _, times, message = in_a_process(tmp_path, h="hard-sigmoid", NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert message.startswith("numba's cache fails (")
    assert times == 1
