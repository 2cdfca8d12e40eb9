"""PyTorch's methods: the same start, losses, gradients and mini-batches as ours; and life without PyTorch."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from support.methods import flat
from support.problems import Array, NoClock, problem
from support.shell import Shell

import admmctl
from admmctl.errors import UserError
from admmctl.methods.gradient import torch_methods
from admmctl.methods.gradient.settings import SgdSettings
from admmctl.methods.gradient.sgd import Adam, Sgd
from admmctl.methods.method import Finished
from admmctl.model.fourier import Kernel
from admmctl.model.gradient import Gradient, flat_views
from admmctl.runs.recorded import Recorded


def experiment(**changes: Any) -> dict[str, Any]:
    return {
        "name": "torch",
        "data": {"name": "swissroll", "rows": 2000},
        "network": {"layers": [16, 8]},
        "loss": "cross-entropy",
        "methods": {"sgd": {}, "torch-sgd": {}, "admm": {"loss": "squared"}},
        "stop": {"epochs": 3},
        **changes,
    }


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python in which ``import torch`` fails, installed or not."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)


def torch_sgd(**settings: Any) -> torch_methods.TorchSgd:
    return torch_methods.TorchSgd(torch_methods.TorchSgdSettings(**settings))


def torch_adam(**settings: Any) -> torch_methods.TorchAdam:
    return torch_methods.TorchAdam(torch_methods.TorchAdamSettings(**settings))


def torch_lbfgs(**settings: Any) -> torch_methods.TorchLbfgs:
    return torch_methods.TorchLbfgs(torch_methods.TorchLbfgsSettings(**settings))


def mean_loss_and_gradient(p, W: list[Array], decay: float = 0.0) -> tuple[float, Array]:
    """Ours, over all rows."""
    vector = flat(W)
    total = np.zeros_like(vector)
    backprop = Gradient(p.network, p.loss, 64, vector.dtype.type)
    value = backprop.add(flat_views(p.network, vector), p.a0, p.y, flat_views(p.network, total))
    return value / p.total + 0.5 * decay * float(vector @ vector), total / p.total + decay * vector


# -- the same start, loss, gradient, mini-batches, steps


@pytest.mark.parametrize(
    "particular",
    [
        *({"hidden": hidden, "bias": bias} for hidden in ([], [6], [6, 4]) for bias in (True, False)),
        {"hidden": [6, 4], "activation": "cosine", "kernel": Kernel("matern", 0.7)},  # its phases are kept
    ],
    ids=str,
)
def test_training_starts_where_ours_does(particular, torch):
    p = problem(**particular, dtype=np.float32, seed=3)
    ours = Sgd(SgdSettings())
    expected = ours.weights(ours.init(p))
    assert ("kernel" in particular) == bool(p.network.bias and expected[0][:, -1].any())
    for method in (torch_sgd(), torch_adam(), torch_lbfgs()):
        for one, other in zip(method.weights(method.init(p)), expected, strict=True):
            np.testing.assert_array_equal(one, other)


def loss_and_gradient(method: Any, s: Any) -> tuple[float, Array]:
    """PyTorch's, over all rows."""
    value = method.loss(s, s.x, s.y)
    value.backward()
    return float(value.detach()), flat([W_l.grad.numpy() for W_l in s.W])


# At the start biases are zero: where all units below are off, a unit or an output lies exactly at its kink at 0.
@pytest.mark.parametrize("loss", ["squared", "hinge", "cross-entropy"])
@pytest.mark.parametrize("activation", ["relu", "hard-sigmoid", "tanh", "sigmoid", "cosine"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(
    ("bias", "decay", "noise"),
    [(True, 0.0, 0.0), (True, 0.0, 0.3), (True, 0.1, 0.3), (False, 0.0, 0.3), (False, 0.1, 0.3)],
)
def test_loss_and_gradient_are_ours(loss, activation, outputs, bias, decay, noise, torch):
    p = problem([6, 4], dtype=np.float32, outputs=outputs, loss=loss, activation=activation, bias=bias)
    method = torch_sgd(weight_decay=decay)
    s = method.init(p)
    generator = np.random.default_rng(1)
    for W_l in s.W:
        W_l.data += torch.from_numpy(noise * generator.standard_normal(W_l.shape, np.float32))
    value, gradient = loss_and_gradient(method, s)
    expected_value, expected = mean_loss_and_gradient(p, method.weights(s), decay)
    assert value == pytest.approx(expected_value, rel=1e-5)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


PAIRS = {
    "sgd": (Sgd, torch_sgd, {"learning_rate": 0.1}),
    "momentum": (Sgd, torch_sgd, {"learning_rate": 0.05, "momentum": 0.9}),
    "nesterov": (Sgd, torch_sgd, {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-2}),
    "adam": (Adam, torch_adam, {"learning_rate": 5e-3}),
    "adam with decay": (
        Adam,
        torch_adam,
        {"learning_rate": 5e-3, "beta1": 0.8, "weight_decay": 1e-2, "epsilon": 1e-4},
    ),
}


@pytest.mark.parametrize("name", list(PAIRS))
def test_steps_are_ours_in_double_precision(name, torch):
    # 120 rows in batches of 32: seven steps are an epoch with its smaller batch, and most of the next.
    own, build, settings = PAIRS[name]
    p = problem([6, 4], activation="tanh", dtype=np.float64)
    ours, theirs = own(own.Settings(batch=32, **settings)), build(batch=32, **settings)
    s, t = ours.init(p), theirs.init(p)
    for _ in range(7):
        s, t = ours.step(s), theirs.step(t)
        np.testing.assert_allclose(flat(theirs.weights(t)), s.parameters, rtol=1e-8, atol=1e-10)
        assert theirs.rows_seen(t) == ours.rows_seen(s)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_curves_agree_with_ours(kind, torch, results):
    settings = {"batch": 128, "learning_rate": 5e-3}
    methods = {kind: settings, f"torch-{kind}": settings}
    runs = admmctl.train(experiment(methods=methods), method="all")
    ours, theirs = (Recorded(Path(run["folder"])).curve for run in runs)
    assert [row["epoch"] for row in ours] == [0, 1, 2, 3]
    for one, other in zip(ours, theirs, strict=True):
        assert (one["iteration"], one["epoch"]) == (other["iteration"], other["epoch"])
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=1e-3)
        assert other["train_accuracy"] == pytest.approx(one["train_accuracy"], abs=2.01 / 1500)
        assert other["test_accuracy"] == pytest.approx(one["test_accuracy"], abs=1.01 / 500)
    assert ours[-1]["train_loss"] < 0.98 * ours[0]["train_loss"]


def test_a_batch_larger_than_the_data_is_all_the_data(torch):
    p = problem([6], dtype=np.float64)
    states = []
    for batch in (120, 121):
        method = torch_sgd(batch=batch)
        s = method.init(p)
        for _ in range(3):
            s = method.step(s)
        states.append((flat(method.weights(s)).tolist(), method.rows_seen(s)))
    assert states[0] == states[1]
    assert states[0][1] == 360


def test_lbfgs_lowers_the_loss_and_counts_its_gradients(torch):
    p = problem([6], activation="tanh", dtype=np.float64)
    method = torch_lbfgs()
    s = method.init(p)
    found = [mean_loss_and_gradient(p, method.weights(s))[0]]
    for _ in range(25):
        rows = method.rows_seen(s)
        s = method.step(s)
        found.append(mean_loss_and_gradient(p, method.weights(s))[0])
        assert method.rows_seen(s) > rows
        assert method.rows_seen(s) % p.total == 0
    assert all(after < before for before, after in zip(found, found[1:], strict=False))


@pytest.mark.parametrize("inner", [1, 2, 5])
def test_lbfgs_steps_are_those_of_one_long_call_of_pytorch(inner, torch):
    # Whoever calls PyTorch's step once, with its default of evaluations per iteration or more, gets these.
    p = problem([6], activation="tanh", dtype=np.float64)
    method = torch_lbfgs(inner=inner)
    s, reference = method.init(p), method.init(p)
    optimiser = torch.optim.LBFGS(
        reference.W,
        max_iter=20,
        max_eval=10_000,
        history_size=10,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimiser.zero_grad()
        loss = method.loss(reference, reference.x, reference.y)
        loss.backward()
        return loss

    optimiser.step(closure)
    for _ in range(20 // inner):
        s = method.step(s)
    np.testing.assert_allclose(flat(method.weights(s)), flat(method.weights(reference)), rtol=1e-6, atol=1e-8)


def run_on(method: Any, s: Any, steps: int) -> None:
    for _ in range(steps):
        s = method.step(s)


def test_lbfgs_finishes_where_it_can_go_no_lower(torch):
    p = problem([], dtype=np.float64)  # least squares
    method = torch_lbfgs()
    s = method.init(p)
    with pytest.raises(Finished):
        run_on(method, s, 1000)
    best, *_ = np.linalg.lstsq(p.a0.T, p.y.T)
    np.testing.assert_allclose(flat(method.weights(s)), best.ravel(), atol=1e-5)


def test_a_gpu_is_waited_for_at_the_end_of_every_phase(torch, monkeypatch):
    # The clock must not stop while the device still works. There is no GPU here: only the wait is counted.
    events = []

    class Phases(NoClock):
        def phase(self, name):
            events.append(name)
            return super().phase(name)

    p = replace(problem([6], dtype=np.float32), clock=Phases())
    method = torch_sgd(batch=16)
    s = method.init(p)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: events.append("wait"))
    s.device = SimpleNamespace(type="cuda")  # it says that it is a GPU; all is computed on the CPU
    from_numpy = torch.from_numpy
    monkeypatch.setattr(torch, "from_numpy", lambda rows: SimpleNamespace(to=lambda device: from_numpy(rows)))
    method.step(s)
    assert events == ["shuffle", "wait", "gradient", "wait", "update", "wait"]


# -- where it computes


def with_gpus(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """A PyTorch that sees these GPUs."""
    cuda = SimpleNamespace(is_available=lambda: bool(names), get_device_name=lambda: names[0])
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))


@pytest.mark.parametrize("build", [torch_sgd, torch_adam, torch_lbfgs])
def test_auto_is_a_gpu_where_there_is_one_and_the_record_names_it(build, monkeypatch):
    with_gpus(monkeypatch, "NVIDIA K40")
    assert torch_methods.device_of(build(device="auto").settings) == "cuda"
    assert build(device="auto").accelerator == "NVIDIA K40"
    assert build(device="cpu").accelerator is None
    with_gpus(monkeypatch)
    assert torch_methods.device_of(build(device="auto").settings) == "cpu"
    assert build(device="auto").accelerator is None


def test_auto_trains_on_the_processor_where_there_is_no_gpu(torch, results):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    methods = {name: {"kind": "torch-sgd", "device": name} for name in ("auto", "cpu")}
    runs = admmctl.train(experiment(methods=methods, stop={"epochs": 1}), method="all")
    auto, cpu = (Recorded(Path(run["folder"])) for run in runs)
    assert [row["train_loss"] for row in auto.curve] == [row["train_loss"] for row in cpu.curve]
    assert "device" not in auto.environment.facts


# -- what is refused


@pytest.fixture
def shell(tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "torch.yaml").write_text(yaml.safe_dump(experiment(), sort_keys=False))
    return tmp_path / "torch.yaml"


@pytest.mark.parametrize("kind", ["torch-sgd", "torch-adam", "torch-lbfgs"])
def test_without_torch_its_methods_say_how_to_get_it(kind, no_torch, results):
    with pytest.raises(UserError, match="the package torch, which is not installed") as missing:
        admmctl.train(experiment(methods={kind: {}}))
    assert missing.value.exit_code == 2
    assert "pip install 'admmctl[torch]'" in str(missing.value)
    assert not list(results.rglob("*"))


def test_without_torch_a_dry_run_still_shows_what_would_run(no_torch, config, shell):
    plans = shell("train", config, "--method", "all", "--dry-run", "--json").json()["runs"]
    assert [next(iter(plan["config"]["methods"])) for plan in plans] == ["sgd", "torch-sgd", "admm"]


def test_without_torch_all_methods_but_its_own_run_and_they_are_named(no_torch, config, shell):
    answer = shell("train", config, "--method", "all", "--repeat", "2", "--json", "--set", "stop.epochs=1")
    assert answer.code == 0
    runs = answer.json()["runs"]
    assert [(run["method"], run["seed"]) for run in runs] == [("sgd", 0), ("admm", 0), ("sgd", 1), ("admm", 1)]
    assert answer.err.count("torch-sgd") == 1
    assert "skipped torch-sgd" in answer.err
    assert "pip install 'admmctl[torch]'" in answer.err


def test_without_torch_an_experiment_of_its_methods_alone_is_refused(no_torch, results):
    with pytest.raises(UserError, match="needs an extra that is not installed") as refused:
        admmctl.train(experiment(methods={"torch-sgd": {}, "torch-adam": {}}), method="all")
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--set", "methods.torch-sgd={device: cuda}"], ["device: cuda", "no CUDA device", "device: cpu"]),
        (["--cores", "2", "--oversubscribe"], ["torch-sgd runs on one rank; use --cores 1"]),
    ],
    ids=["no GPU", "two ranks"],
)
def test_what_torch_cannot_do_here_is_refused(arguments, parts, torch, config, results, shell):
    if torch.cuda.is_available() and "--set" in arguments:
        pytest.skip("there is a GPU here")
    message = shell.refusal("train", config, "--method", "torch-sgd", *arguments)
    assert all(part in message for part in parts)
    assert not list(results.rglob("*"))


def test_a_method_whose_gpu_is_missing_is_skipped_by_name(torch, config, shell):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    changes = ["--set", "methods.torch-sgd={device: cuda}", "--set", "stop.epochs=1"]
    answer = shell("train", config, "--method", "all", *changes, "--json")
    assert answer.code == 0
    assert [run["method"] for run in answer.json()["runs"]] == ["sgd", "admm"]
    assert "skipped torch-sgd: device: cuda" in answer.err


def test_another_device_is_refused_with_those_there_are(config, shell):
    message = shell.refusal("train", config, "--dry-run", "--set", "methods.torch-sgd={device: tpu}")
    assert "methods.torch-sgd.device: expected 'cpu', 'cuda' or 'auto', got 'tpu'" in message


def test_torch_is_not_loaded_before_it_is_asked_for():
    code = (
        "import sys, admmctl.methods.gradient.torch_methods; from admmctl.experiment.config import load\n"
        "load({'name': 'x', 'data': {'name': 'swissroll'}, 'network': {'layers': [3]}, 'loss': 'squared',"
        " 'methods': {'torch-sgd': {}, 'torch-adam': {}, 'torch-lbfgs': {}}})\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
