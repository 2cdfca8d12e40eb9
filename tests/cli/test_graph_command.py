"""Graph ADMM from the command line: what is refused, and the two figures of its paper."""

import pytest
import yaml
from support.shell import Shell

EXPERIMENT = {
    "name": "graph",
    "data": {"name": "swissroll", "rows": 600},
    "network": {"layers": [12], "outputs": 2},
    "loss": "cross-entropy",
    "methods": {"graph-admm": {"batch": 150}},
    "stop": {"epochs": 3},
    "evaluate": {"unit": "epoch"},
}


@pytest.fixture
def experiment_files() -> dict[str, str]:
    return {"graph.yaml": yaml.safe_dump(EXPERIMENT)}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("methods.graph-admm.rho=0", "methods.graph-admm.rho"),
        ("methods.graph-admm.rho=[1.0, -1.0]", "methods.graph-admm.rho"),
        ("methods.graph-admm.rho=[1.0]", "1 penalties for 2 layers"),
        ("methods.graph-admm.momentum=1", "methods.graph-admm.momentum"),
        ("methods.graph-admm.momentum=-0.1", "methods.graph-admm.momentum"),
        ("methods.graph-admm.batch=451", "451 rows of 450"),
        ("methods.graph-admm.batch=0", "methods.graph-admm.batch"),
        ("network.activation=dcutlu(1, 1)", "expected numbers l < u"),
        ("network.activation=dcutlu(2, 1)", "expected numbers l < u"),
        ("network.activation=dcutlu(0, 1, 2)", "takes no 3 numbers"),
        ("network.activation=tanh", "has no activation 'tanh'"),
        ("methods.graph-admm={momentum: 0.5, anderson: 3}", "momentum: 0"),
        ("methods.graph-admm.l2=-1", "methods.graph-admm.l2"),
    ],
)
def test_what_makes_no_sense_is_refused(shell: Shell, results, change, part):
    assert part in shell.refusal("train", "graph.yaml", "--set", change)
    assert not list(results.glob("*"))


def test_a_cut_unit_trains_and_predicts(shell: Shell, tmp_path):
    answer = shell("train", "graph.yaml", "--set", "network.activation=dcutlu(-0.5, 2)", "--json")
    assert answer.code == 0, answer.err
    folder = answer.json()["runs"][0]["folder"]
    rows = tmp_path / "rows.csv"
    rows.write_text("0.1,0.2,0.3\n1,2,3\n")
    answer = shell("predict", folder, "--input", rows)
    assert answer.code == 0, answer.err
    assert len(answer.out.splitlines()) == 3


def test_accuracy_by_epoch_with_training(shell: Shell, results):
    assert shell("train", "graph.yaml").code == 0
    for against in ("epochs", "iterations", "seconds"):
        answer = shell("accuracy-plot", results / "graph", "--against", against, "--training")
        assert answer.code == 0, answer.err
        assert (results / "graph/accuracy.png").stat().st_size > 5000


def test_epochs_to_a_target_against_a_setting(shell: Shell, results):
    for rho in (0.05, 0.2):
        changes = [f"methods.graph-admm.rho={rho}", "stop={metric: train_loss, target: 0.65, epochs: 4}"]
        assert shell("train", "graph.yaml", "--set", changes[0], "--set", changes[1]).code == 0
    answer = shell("target-plot", results / "graph", "--over", "rho")
    assert answer.code == 0, answer.err
    assert (results / "graph/target-rho.png").stat().st_size > 5000
    assert (results / "graph/target-rho.pdf").exists()
    assert "--over beta" in shell.refusal("target-plot", results / "graph", "--over", "beta")
