"""What commands refuse: one clear message, exit code 2, nothing on standard output, nothing written."""

from pathlib import Path

import pytest
from support.shell import CONFIGS, Shell

from admmctl.launch.local import available_cores

REFUSED: list[tuple[str, list[str]]] = [
    # the file and its settings
    ("train nowhere.yaml", ["nowhere.yaml: there is no such file", "tiny.yaml"]),
    ("train .", [".: cannot be read"]),
    ("train tiny.yaml --set methods.admm.bta=1", ["tiny.yaml:6", "methods.admm.bta", "did you mean 'beta'?"]),
    ("train tiny.yaml --dry-run --set methods.admm.bta=1", ["methods.admm.bta"]),
    ("train tiny.yaml --set methods.admm.beta=-1", ["methods.admm.beta", "above 0"]),
    ("train tiny.yaml --set methods.admm.beta=true", ["methods.admm.beta", "expected a number", "got True"]),
    ("train tiny.yaml --set methods.admm.beta=[1,2]", ["methods.admm.beta", "2 penalties for 3 layers"]),
    ("train tiny.yaml --set data.classes=[]", ["data.classes", "at least 1"]),
    ("train tiny.yaml --set data.classes=[0]", ["data.classes", "two classes"]),
    ("train tiny.yaml --set data.classes=[0,9]", ["data.classes", "no class 9", "valid: 0, 1"]),
    (
        "train tiny.yaml --set data.name=cifar",
        ["data.name", "unknown dataset 'cifar'", "valid: adding, cifar10, files, higgs, mnist"],
    ),
    ("train tiny.yaml --set data.rows=100000000000000000000", ["data.rows"]),
    ("train tiny.yaml --set data.train=120", ["no rows are left to test on"]),
    ("train tiny.yaml --set data.test=official", ["data.test", "no official test set"]),
    ("train tiny.yaml --set stop.target=1.5", ["stop.target", "1.5 cannot be reached"]),
    ("train tiny.yaml --set network.outputs=3", ["network.outputs", "3 outputs for 2 classes"]),
    ("train tiny.yaml --set nonsense", ["--set nonsense", "key=value"]),
    # options of train
    ("train tiny.yaml --method nonsense", ["--method", "unknown method 'nonsense'", "valid: admm, all, hinged"]),
    ("train tiny.yaml --method hingd", ["did you mean 'hinged'?"]),
    (
        "train tiny.yaml --cores 256",
        ["--cores 256", "this machine has", "--hosts h1:8,h2:8", "--launcher sbatch", "--oversubscribe"],
    ),
    ("train tiny.yaml --cores 91 --oversubscribe", ["91 ranks for 90 training rows", "--cores 90 or fewer"]),
    ("train tiny.yaml --cores 0", ["--cores 0", "1 or more"]),
    ("train tiny.yaml --cores -3", ["--cores -3", "1 or more"]),
    ("train tiny.yaml --cores two", ["--cores", "valid integer"]),
    ("train tiny.yaml --repeat 0", ["--repeat 0", "1 or more"]),
    ("train tiny.yaml --threads 0", ["--threads 0", "auto"]),
    ("train tiny.yaml --threads ²", ["--threads ²", "auto"]),
    ("train tiny.yaml --threads many", ["--threads many", "auto"]),
    ("train tiny.yaml --launcher nonsense", ["--launcher nonsense", "valid: auto, inline, mpiexec"]),
    ("train tiny.yaml --launcher inline --cores 2", ["--launcher inline", "--launcher mpiexec"]),
    ("train", ["Missing argument"]),
    ("train tiny.yaml --nonsense", ["--nonsense"]),
    # bench
    ("bench --rows 0", ["--rows 0", "1 or more", "at most 10,000,000,000"]),
    ("bench --rows -5", ["--rows -5", "1 or more"]),
    ("bench --rows 10000000001", ["--rows 10,000,000,001", "at most 10,000,000,000"]),
    ("bench --rows 1 --cores 2", ["--rows 1", "2 or more", "a row for every rank"]),
    ("bench --rows many", ["--rows", "valid integer"]),
    ("bench --repeat 0", ["--repeat 0", "1 to 1,000"]),
    ("bench --repeat 1001", ["--repeat 1001", "1 to 1,000"]),
    ("bench --cores 0", ["--cores 0", "1 or more"]),
    ("bench --cores 256", ["--cores 256", "this machine has", "or fewer, or add --oversubscribe"]),
    ("bench tiny.yaml --method nonsense", ["--method", "unknown method 'nonsense'", "hinged"]),
    ("bench tiny.yaml --method all", ["--method all", "one method at a time"]),
    ("bench --method sgd", ["unknown method 'sgd'", "admm"]),
    ("bench nowhere.yaml", ["nowhere.yaml: there is no such file", "tiny.yaml"]),
    ("bench tiny.yaml --set methods.admm.bta=1", ["tiny.yaml:6", "did you mean 'beta'?"]),
    ("bench tiny.yaml --set network.outputs=3", ["network.outputs", "3 outputs for 2 classes"]),
    # low-rank updates
    (
        "train tiny.yaml --set methods.admm.w_update=nystrom --set methods.admm.rank=0",
        ["methods.admm.rank", "1 or more", "got 0"],
    ),
    ("train tiny.yaml --set methods.admm.rank=5", ["methods.admm.rank", "no effect with w_update: exact"]),
    # data
    ("train {configs}/mnist01.yaml", ["dataset mnist is not in", "run: admmctl fetch mnist"]),
    ("train {configs}/mnist01.yaml --cores 2", ["run: admmctl fetch mnist"]),
    ("fetch", ["NAME"]),
    ("fetch mnits", ["unknown dataset 'mnits'", "did you mean 'mnist'?"]),
    ("fetch mnist --mirror nowhere", ["--mirror nowhere: there is no such folder"]),
    ("fetch swissroll --mirror nowhere", ["--mirror nowhere: there is no such folder"]),
    ("fetch mnist --mirror .", ["mirror .", "neither mnist/train-images-idx3-ubyte.gz nor"]),
    ("fetch mnist --mirror http://[::1", ["http://[::1"]),
    # results, and figures of them
    ("runs list nowhere", ["nowhere", "admmctl runs list"]),
    ("runs show nowhere", ["nowhere", "admmctl runs list"]),
    ("runs show tiny.yaml", ["tiny.yaml"]),
    ("runs compare", ["nothing to compare"]),
    ("runs compare nowhere", ["nowhere", "admmctl runs list"]),
    ("accuracy-plot", ["nothing to draw"]),
    ("accuracy-plot nowhere", ["nowhere"]),
    ("accuracy-plot --axis sqrt", ["--axis sqrt: valid: auto, log, linear"]),
    ("accuracy-plot --scale cubic", ["--scale cubic: valid: auto, log, linear"]),
    ("accuracy-plot --against hours", ["--against hours: valid: seconds, epochs, iterations"]),
    ("target-plot --over rho --unit hours", ["--unit hours: valid: seconds, epochs, iterations"]),
    ("target-plot --over rho --output .", ["--output .: expected the name of a file"]),
    ("runs export --format cvs --output out", ["--format cvs", "did you mean 'csv'?"]),
    ("runs export --format csv --output out", ["no runs to export"]),
    ("runs export --output out", ["--format"]),
    ("runs remove", ["RUN"]),
    ("runs remove nowhere --yes", ["nowhere: there is no such run"]),
    ("runs remove tiny.yaml --yes", ["there is no run and no study in tiny.yaml"]),
    ("predict nowhere --input x.npy", ["nowhere"]),
    ("predict nowhere", ["--input"]),
    ("nonsense", ["nonsense"]),
    ("runs nonsense", ["nonsense"]),
]


@pytest.mark.parametrize(("line", "texts"), REFUSED, ids=[line for line, _ in REFUSED])
def test_wrong_usage_is_refused_with_a_message_that_helps(
    shell: Shell, results: Path, line: str, texts: list[str]
) -> None:
    message = shell.refusal(*line.replace("{configs}", str(CONFIGS)).split())
    for text in texts:
        assert text in message
    assert not results.exists() or not list(results.rglob("*"))


def test_oversubscribe_runs_more_ranks_than_cores(shell: Shell) -> None:
    cores = available_cores() + 1
    assert "--oversubscribe" in shell.refusal("train", "tiny.yaml", "--cores", cores)
    (run,) = shell("train", "tiny.yaml", "--cores", cores, "--oversubscribe", "--json").json()["runs"]
    assert run["ranks"] == cores
    assert "--oversubscribe" in run["rerun"]


def test_an_mpiexec_that_does_not_exist_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMMCTL_MPIEXEC", "/nowhere/mpiexec")
    message = shell.refusal("train", "tiny.yaml", "--launcher", "mpiexec")
    assert "ADMMCTL_MPIEXEC=/nowhere/mpiexec: there is no such program" in message


@pytest.mark.parametrize("place", ["a file", "/proc/x"])
def test_a_results_folder_that_cannot_be_written(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place == "a file":
        place = str(shell.folder / "tiny.yaml")
    monkeypatch.setenv("ADMMCTL_RESULTS", place)
    message = shell.refusal("train", "tiny.yaml", "--json")
    assert f"the results folder {place}/tiny cannot be written" in message
    assert "ADMMCTL_RESULTS" in message
