"""Methods on PyTorch's arrays say what they say on NumPy's; and what is refused, in one line."""

import os
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from support.methods import CASES, Case, advance, same
from support.problems import NoClock
from support.shell import Shell

from admmctl import kernels
from admmctl.devices.library import of_rank
from admmctl.devices.settings import DeviceSettings
from admmctl.errors import MissingExtra, UserError
from admmctl.methods import on_device
from admmctl.methods.method import methods

torch = pytest.importorskip("torch")
torch_arrays = pytest.importorskip("admmctl.devices.torch_arrays")
torch_kernels = pytest.importorskip("admmctl.devices.torch_kernels")

ABLE = [name for name in methods if issubclass(methods.load(name).Settings, DeviceSettings)]
# All cases of NumPy that PyTorch has, too, and those that are PyTorch's from the start.
BOTH = [
    case
    for case in CASES
    if case.kind in ABLE and "convolution" not in case.particular and not case.refuses_devices
]
both = pytest.mark.parametrize("case", BOTH, ids=[f"{case.kind}-{number}" for number, case in enumerate(BOTH)])


@pytest.fixture(autouse=True)
def _threads():
    """PyTorch's, which are those of the process, are put back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def curve(case: Case, backend: str, dtype: type = np.float64, **changes: Any) -> Any:
    method = replace(case, settings={**case.settings, "backend": backend}).method(dtype)
    state, found = advance(method, method.init(case.problem(dtype, **changes)), 6)
    method.close(state)
    return found


@both
def test_pytorch_makes_the_iterates_of_numpy(case):
    expected = curve(case, "numpy")
    assert len(expected) > 0
    same(curve(case, "torch"), expected, rtol=1e-7, atol=1e-9)


def test_every_method_with_the_choice_is_among_the_cases():
    assert {case.kind for case in BOTH} == set(ABLE)
    assert {case.kind for case in CASES if case.settings.get("backend") == "torch"} == set(ABLE)


class OnDisk:
    """Rows of which blocks are read, as they are where data.stream is true."""

    def __init__(self, rows: Any) -> None:
        self.rows, self.shape, self.dtype, self.itemsize = rows, rows.shape, rows.dtype, rows.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        return self.rows[place].copy(order="F")

    def take(self, rows: Any, out: Any) -> None:
        out[...] = self.rows.T[rows]


STREAMED = [case for case in BOTH if case.settings.get("backend") == "torch"]


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("case", STREAMED, ids=[f"{case.kind}-{number}" for number, case in enumerate(STREAMED)])
def test_rows_that_do_not_fit_on_the_device_are_streamed_to_it(case, on_disk, monkeypatch):
    phases: list[str] = []

    class Phases(NoClock):
        def phase(self, name):
            phases.append(name)
            return super().phase(name)

    monkeypatch.setattr(on_device, "_resident", lambda *_: False)
    method, p = case.method(np.float64), replace(case.problem(np.float64), clock=Phases())
    p = replace(p, a0=OnDisk(p.a0)) if on_disk else p
    state, found = advance(method, method.init(p), 3)
    method.close(state)
    assert phases.count("transfer") > 1
    monkeypatch.undo()
    resident = case.method(np.float64)
    same(found, advance(resident, resident.init(case.problem(np.float64)), 3)[1], rtol=1e-9, atol=1e-12)


# -- arrays


def array(values: Any) -> Any:
    return torch_arrays.TorchArray(torch.as_tensor(np.asarray(values)))


def test_nothing_comes_to_the_host_unasked_and_nothing_of_the_host_is_mixed_in():
    a = array(np.ones((2, 3)))
    with pytest.raises(TypeError, match="on_host"):
        np.asarray(a)
    with pytest.raises(TypeError, match="meets one on a device"):
        a += np.ones((2, 3))
    with pytest.raises(TypeError, match=r"numpy\.kron"):
        np.kron(a, a)
    with pytest.raises(TypeError, match="arctan"):
        np.arctan(a)
    np.testing.assert_array_equal(a.on_host(), np.ones((2, 3)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_are_made_written_and_read_as_those_of_numpy(dtype):
    there = array(np.arange(6, dtype=dtype).reshape(2, 3))
    made = np.empty((2, 3), dtype, order="F", like=there)
    made[...] = there
    assert made.tensor.stride() == (1, 2)
    assert (made.dtype, made.shape, made.nbytes, len(made)) == (dtype, (2, 3), 6 * np.dtype(dtype).itemsize, 2)
    made[:, 1] += 10
    made[1, [0, 2]] = np.array([7, 8], dtype)
    made[np.array([True, False])] *= 2
    expected = np.array([[0, 22, 4], [7, 14, 8]], dtype)
    np.testing.assert_array_equal(made.on_host(), expected)
    assert isinstance(np.vdot(made, made), dtype)
    assert np.vdot(made, there) == np.vdot(expected, np.arange(6).reshape(2, 3))
    part = made[:, :2].T
    part[...] = 1
    assert (made.on_host()[:, :2] == 1).all()
    negative = np.arange(6, dtype=dtype)[::-1]
    negative.flags.writeable = False
    np.testing.assert_array_equal(np.asarray(negative, like=there).on_host(), negative)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 37])
@pytest.mark.parametrize("few", [1, 3])
def test_element_wise_loops_are_those_of_numpy(dtype, rows, few, monkeypatch):
    monkeypatch.setattr(torch_kernels, "_IN_CACHE", 64)
    monkeypatch.setattr(torch_kernels, "_kept", threading.local())
    rng = np.random.default_rng(0)

    def normal(*shape):
        values = rng.standard_normal(shape).astype(dtype)
        values[..., 0] = 0  # at the kink
        return values

    x, a, m = normal(rows, 9), normal(rows, 10), normal(rows, 9)
    t, e, W, V, row = normal(rows, few), normal(rows, few), normal(few, 9), normal(few, 9), np.empty(9, dtype)
    m[0, 3] = np.nan
    for name, given in {
        "graph_hidden": (x, m, 0.3, 0.5, 0.0, np.inf),
        "graph_hidden ": (x, m, 0.7, 0.2, -0.4, 0.6),
        "z_relu": (x, a, m, 2.0, 0.7),
        "z_cut": (x, a, m, 2.0, 0.7, -0.4, 0.6),
        "narrow_a_relu": (x, t, W, V, e, a),
        "narrow_z_relu": (x, m, e, V, W, 2.0, 0.7, row, t),
    }.items():
        kernel = getattr(kernels, name.strip())
        ours = [np.array(value) if isinstance(value, np.ndarray) else value for value in given]
        theirs = [array(value.copy()) if isinstance(value, np.ndarray) else value for value in given]
        kernel(*ours)
        kernel(*theirs)
        for at, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            if isinstance(one, np.ndarray) and (name, at) != ("narrow_z_relu", 7):  # scratch
                tolerance = 1e-5 if dtype == np.float32 else 1e-12
                np.testing.assert_allclose(other.on_host(), one, rtol=tolerance, atol=tolerance, err_msg=name)


COMPILED = [
    Case("graph-admm", {"batch": 50}, {"activation": ["relu", "dcutlu(-0.5, 2)"]}),
    Case("admm", {"beta": 2.0}, {"activation": ["dcutlu(-0.5, 2)", "relu"], "outputs": 8}),
]


@pytest.mark.parametrize("case", COMPILED, ids=lambda case: case.kind)
def test_compiled_loops_make_the_same_iterates(case, monkeypatch):
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        pytest.skip("there is no C++ compiler here")
    expected = curve(case, "torch")
    ran: list[str] = []
    plain = torch_kernels.loop

    def loop(name):
        found = plain(name)
        ran.append(name if found is getattr(torch_kernels, name) else f"compiled {name}")
        return found

    monkeypatch.setattr(torch_kernels, "loop", loop)
    same(
        curve(replace(case, settings={**case.settings, "compile": True}), "torch"), expected, rtol=1e-7, atol=1e-9
    )
    assert any(name.startswith("compiled") for name in ran)
    ran.clear()
    same(curve(case, "torch"), expected)  # the next run without it has loops as they were
    assert not any(name.startswith("compiled") for name in ran)


# -- what is refused


@pytest.fixture
def shell(
    tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    monkeypatch.chdir(tmp_path)
    experiment = {
        "name": "device",
        "data": {"name": "swissroll", "rows": 300},
        "network": {"layers": [8]},
        "loss": "squared",
        "methods": {"graph-admm": {}, "linear": {"network": {"layers": []}}, "admm": {}},
        "stop": {"iterations": 2},
    }
    (tmp_path / "device.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False))
    return Shell(tmp_path, capsys)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["graph-admm={backend: torch, device: cuda}"], "device: cuda, but PyTorch sees no CUDA device here"),
        (["graph-admm={device: cuda}"], "backend: numpy runs on the processor; use backend: torch"),
        (["graph-admm={backend: torch, device: gpu}"], "expected cpu, cuda or cuda:N, got 'gpu'"),
        (["graph-admm={backend: torch, matmul: tf32}"], "tf32 is of a GPU"),
        (["graph-admm={compile: true}"], "is of backend: torch; NumPy's loops are compiled anyway"),
        (["graph-admm={backend: jax}"], "expected 'numpy' or 'torch', got 'jax'"),
        (
            ["linear={backend: torch}"],
            "method linear has no such key; these have: admm, admm-printed, graph-admm, sgd",
        ),
        (
            ["admm={backend: torch, network: {activation: tanh}}"],
            "no z-update of tanh; it has those of: relu",
        ),
        (["admm={backend: torch, w_update: nystrom}"], "nystrom is of backend: numpy; set w_update: exact"),
    ],
)
def test_what_does_not_go_is_refused_in_one_line(shell, results, changes, said):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    method = changes[0].partition("=")[0]
    options = [part for change in changes for part in ("--set", f"methods.{change}")]
    message = shell.refusal("train", "device.yaml", "--method", method, *options)
    assert said in message
    assert len(message.strip().splitlines()) == 1
    assert not list(results.glob("*"))


def test_convolutions_are_not_computed_by_pytorch(shell, results):
    layers = "network={layers: [4], convolution: {filters: [2], size: 1, image: [2, 1, 1]}}"
    message = shell.refusal("train", "device.yaml", "--set", layers, "--set", "methods.graph-admm.backend=torch")
    assert "torch computes no convolutional layers; use backend: numpy" in message


def test_loops_that_do_not_compile_are_named_with_a_cure(monkeypatch):
    def fails(*given, **more):
        raise RuntimeError("no compiler\nwas found")

    monkeypatch.setattr(torch, "compile", lambda loop, dynamic: fails)
    case = Case("graph-admm", {"backend": "torch", "compile": True})
    with pytest.raises(UserError, match=r"fails here \(RuntimeError: no compiler was found\); install a C\+\+"):
        case.method().init(case.problem())


def test_a_run_is_recorded_as_ever(shell):
    answer = shell("train", "device.yaml", "--set", "methods.graph-admm.backend=torch", "--json")
    (run,) = answer.json()["runs"]
    assert run["status"] == "exhausted", answer.err
    config = yaml.safe_load((Path(run["folder"]) / "config.yaml").read_text())
    (block,) = config["methods"].values()
    assert block["backend"] == "torch"
    assert "device" not in block


def test_every_rank_has_a_device_of_its_own(monkeypatch):
    monkeypatch.delenv("SLURM_GPUS_PER_TASK", raising=False)
    assert [of_rank("cuda", rank, 2, 4) for rank in (0, 1)] == ["cuda:0", "cuda:1"]
    assert of_rank("cuda:3", 1, 2, 4) == "cuda:3"
    assert of_rank("cpu", 1, 2, 0) == "cpu"
    with pytest.raises(UserError, match=r"3 ranks on a host with 1 CUDA device, .* use --cores 1, or .* cuda:0"):
        of_rank("cuda", 0, 3, 1)
    monkeypatch.setenv("SLURM_GPUS_PER_TASK", "1")
    assert of_rank("cuda", 2, 3, 1) == "cuda:0"


def test_more_ranks_than_devices_are_refused_before_a_run(monkeypatch):
    monkeypatch.delenv("SLURM_GPUS_PER_TASK", raising=False)
    cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2, get_device_name=lambda n: f"GPU {n}")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    settings = methods.load("graph-admm").Settings(backend="torch", device="cuda")
    settings.require()
    settings.check_ranks(2)
    with pytest.raises(UserError, match="3 ranks on a host with 2 CUDA devices"):
        settings.check_ranks(3)
    assert settings.accelerator == "GPU 0"
    assert methods.load("graph-admm").Settings(backend="torch", device="cuda:1").accelerator == "GPU 1"
    assert methods.load("graph-admm").Settings().accelerator is None


def test_a_library_that_is_missing_is_named_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    settings = methods.load("graph-admm").Settings(backend="torch")
    with pytest.raises(
        MissingExtra, match=r"backend: torch needs the package torch, .* pip install 'admmctl\[torch\]'"
    ):
        methods.load("graph-admm").require(settings)
    methods.load("graph-admm").require(methods.load("graph-admm").Settings())


def test_runs_of_before_keep_their_names():
    for name in ABLE:
        plain = methods.load(name).Settings().plain()
        assert not plain.keys() & {"backend", "device", "matmul", "compile"}, name
