"""``admmctl bench`` as people meet it: one document or tables, for any experiment, and without its data."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.shell import CONFIGS, Answer, Shell

from admmctl.experiment.config import load
from admmctl.methods.gradient.sgd import Sgd
from admmctl.methods.method import methods
from admmctl.runs import bench as module
from admmctl.runs import memory
from admmctl.runs.memory import PROGRAM_BYTES
from admmctl.studies import bench as driver

# Of methods of a file that differ in numbers alone, the first.
BUNDLED: dict[tuple[str, str], tuple[str, str]] = {}
for path in sorted(CONFIGS.glob("*.yaml")):
    for method, settings in yaml.safe_load(path.open())["methods"].items():
        words = {name: value if isinstance(value, str) else "" for name, value in settings.items()}
        BUNDLED.setdefault((path.name, str(words)), (path.name, method))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small peaks: a matrix product of a moment, and a copy that stays in cache."""
    monkeypatch.setattr(module, "GEMM_SIZE", 128)
    monkeypatch.setattr(module, "_STREAM_BYTES", 1 << 16)


def checked(answer: Answer) -> dict[str, Any]:
    """The one document, with numbers that go together."""
    assert answer.code == 0, answer.err
    result: dict[str, Any] = answer.json()
    assert set(result) == set(driver.Bench.model_fields)
    seconds = result["seconds_per_iteration"]
    assert len(result["seconds_of_repeats"]) == result["repeat"]
    assert seconds == pytest.approx(np.median(result["seconds_of_repeats"]))
    for key in ("gemm_gflops", "memory_bandwidth_gbs", "peak_rss_mb", "memory_estimate_mb"):
        assert result[key] > 0
    assert result["set_up_s"] >= 0
    assert seconds > 0
    assert min(result["phases"].values()) >= 0
    if result["repeat"] == 1 and result["ranks"] == 1:
        assert sum(result["phases"].values()) == pytest.approx(seconds, rel=1e-9)
    if result["flop_per_iteration"] is None:
        assert result["step_gflops"] is result["fraction"] is None
    else:
        rate = result["flop_per_iteration"] / seconds / result["ranks"] / 1e9
        assert result["step_gflops"] == pytest.approx(rate)
        assert result["fraction"] == pytest.approx(rate / result["gemm_gflops"])
    return result


def test_without_an_experiment_it_is_the_higgs_network(shell: Shell) -> None:
    result = checked(shell("bench", "--rows", 2000, "--repeat", 1, "--json"))
    assert (result["method"], result["network"]) == ("admm", [28, 300, 1])
    assert (result["rows"], result["rows_per_iteration"], result["ranks"]) == (2000, 2000, 1)
    assert {"reduce", "solve", "product", "elementwise", "gram", "other"} == set(result["phases"])
    assert result["threads_per_rank"] == 1
    assert result["allreduce"] == []
    # Half of a_1 a_1'; z_1 a_0' and z_2 a_1', and as many weights.
    triangle, rows = 4 * (301 * 302 // 2), 4 * (300 * 29 + 301)
    assert result["messages"] == [["reduce", triangle], ["reduce_scatter", rows], ["allgather", rows]]
    assert result["message_bytes"] == [triangle, rows, rows]
    # Somewhat below the peak, which is that of one core of these years.
    assert 0.01 < result["fraction"] < 1
    assert 1 < result["gemm_gflops"] < 1000
    assert not list(Path().rglob("results"))


@pytest.mark.usefixtures("quick")
def test_the_peaks_are_rates_of_a_product_and_of_a_copy(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    class Time:
        """Every look at it takes a second."""

        now = 0.0

        def perf_counter(self) -> float:
            Time.now += 1.0
            return Time.now

        process_time = perf_counter

    monkeypatch.setattr(module, "time", Time())
    result = checked(shell("bench", "tiny.yaml", "--rows", 50, "--repeat", 3, "--json"))
    assert result["gemm_gflops"] == pytest.approx(2 * 128**3 / 1e9)
    assert result["memory_bandwidth_gbs"] == pytest.approx(2 * (1 << 16) / 1e9)


@pytest.mark.usefixtures("quick")
def test_people_see_tables(shell: Shell) -> None:
    answer = shell("bench", "tiny.yaml", "--rows", 500, "--repeat", 2)
    assert answer.code == 0
    for words in (
        "admm, 3-5-4-1, 500 synthetic rows, 1 rank",
        "the median of 2",
        "Seconds by phase of one iteration",
        "gram",
        "Useful: 2mnk",
    ):
        assert words in answer.out
    assert "Allreduce over" not in answer.out
    assert "shared cores" not in answer.out


@pytest.mark.usefixtures("quick")
def test_a_method_of_the_file_and_changes_to_it(shell: Shell) -> None:
    arguments = ["--rows", 300, "--repeat", 3, "--json", "--set", "network.layers=[7]"]
    result = checked(shell("bench", "tiny.yaml", "--method", "hinged", *arguments))
    assert (result["method"], result["network"], result["repeat"]) == ("hinged", [3, 7, 1], 3)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("rows", "batch"), [(1000, 256), (100, 100)])
def test_mini_batches_visit_their_rows_alone(shell: Shell, rows: int, batch: int) -> None:
    command = ["bench", CONFIGS / "higgs.yaml", "--method", "sgd", "--rows", rows, "--repeat", 2]
    result = checked(shell(*command, "--json"))
    assert (result["rows"], result["rows_per_iteration"]) == (rows, batch)
    run = load(CONFIGS / "higgs.yaml").runs["sgd"]
    network = module.shape_network(run, 28, 2)
    assert result["flop_per_iteration"] == Sgd(run.settings).cost(network, rows, rows).flop
    assert 2 * batch * 29 * 300 < result["flop_per_iteration"] < 10 * batch * 29 * 301


@pytest.mark.usefixtures("quick")
def test_a_method_whose_iterations_differ_has_no_rate(shell: Shell) -> None:
    command = ["bench", CONFIGS / "higgs.yaml", "--method", "cg", "--rows", 300, "--repeat", 2]
    result = checked(shell(*command, "--json"))
    assert result["step_gflops"] is result["flop_per_iteration"] is None
    people = shell(*command)
    assert people.code == 0
    assert "useful operations" not in people.out
    assert "Useful: 2mnk" not in people.out
    assert "matrix product" in people.out


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("config", "method"), BUNDLED.values())
def test_every_bundled_experiment_needs_no_data(shell: Shell, config: str, method: str) -> None:
    run = load(CONFIGS / config).runs[method]
    library = getattr(run.settings, "backend", "numpy")
    if run.kind.startswith("torch-"):
        library = "torch"
    if run.kind == "trees":
        library = run.settings.library
    if library != "numpy":
        pytest.importorskip(library)
    command = ["bench", CONFIGS / config, "--method", method, "--rows", 60, "--repeat", 1, "--json"]
    if max(run.network.layers, default=0) > 5000:  # a least squares of minutes
        command += ["--set", f"methods.{method}.network.layers=[300]"]
    result = checked(shell(*command))
    sizes = {"mnist": 784, "svhn-hog": 648, "swissroll": 3, "higgs": 28, "cifar10": 3072}
    sizes |= {"order": 8 * 30, "adding": 2 * 30}
    features = sizes[run.data.name]
    grey = getattr(run.data, "grey", None)
    assert result["network"][0] == (features if grey is None else grey**2)
    assert result["method"] == method
    assert not list(Path().rglob("datasets"))


@pytest.mark.mpi
def test_two_ranks_measure_their_allreduce(shell: Shell) -> None:
    result = checked(shell("bench", "--rows", 2001, "--repeat", 2, "--cores", 2, "--oversubscribe", "--json"))
    assert (result["ranks"], result["rows"]) == (2, 2001)
    sizes = [exchange["bytes"] for exchange in result["allreduce"]]
    assert sizes == sorted({*sizes})
    assert {4, 16 << 20, *result["message_bytes"]} <= set(sizes)
    assert all(exchange["seconds"] > 0 for exchange in result["allreduce"])
    seconds = {exchange["bytes"]: exchange["seconds"] for exchange in result["allreduce"]}
    assert seconds[16 << 20] > seconds[4]
    assert "MPI" in result["mpi"]
    # The phases of the slowest rank each.
    assert sum(result["phases"].values()) > 0.5 * result["seconds_per_iteration"]
    assert result["peak_rss_mb"] == pytest.approx(result["memory_estimate_mb"], rel=0.3)


# --- held against an earlier one


@pytest.fixture
def earlier(shell: Shell, quick: None, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What an earlier bench, of seven iterations, left in old.json. No other work is noticed, then and now."""
    monkeypatch.setattr(driver, "measure", lambda *given: {**module.measure(*given), "disturbed": False})
    document: dict[str, Any] = shell("bench", "tiny.yaml", "--rows", 500, "--repeat", 7, "--json").json()
    Path("old.json").write_text(json.dumps(document))
    return document


AGAINST = ("bench", "tiny.yaml", "--rows", 500, "--repeat", 7, "--against", "old.json")


def times_as_long(earlier: dict[str, Any], factor: float) -> None:
    """Let the earlier iterations have taken so much of their seconds."""
    changed = {"seconds_of_repeats": [factor * each for each in earlier["seconds_of_repeats"]]}
    Path("old.json").write_text(json.dumps({**earlier, **changed}))


def test_an_iteration_that_stays_slower_ends_with_1(shell: Shell, earlier: dict[str, Any]) -> None:
    times_as_long(earlier, 1e-3)
    answer = shell(*AGAINST)
    assert answer.code == 1
    assert "An iteration is slower by more than 5 %, in 3 measurements." in answer.out
    answer = shell(*AGAINST, "--json")
    document = answer.json()
    assert (answer.code, answer.err.splitlines()[-1]) == (
        1,
        "An iteration is slower by more than 5 %, in 3 measurements.",
    )
    assert (document["against"]["failed"], document["against"]["measured"]) == (True, 3)
    assert set(document) == {*driver.Bench.model_fields, "against"}
    # Such a document can be held against, too.
    Path("old.json").write_text(answer.out)
    assert shell(*AGAINST, "--fail-if-slower", "900%").code == 0


def test_an_iteration_that_is_no_slower_passes(shell: Shell, earlier: dict[str, Any]) -> None:
    times_as_long(earlier, 1e3)
    answer = shell(*AGAINST)
    assert answer.code == 0
    assert "Passed: an iteration is not slower by more than 5 %." in answer.out
    assert "one iteration, matrix products" in answer.out


def test_too_few_iterations_pass_and_say_so(shell: Shell, earlier: dict[str, Any]) -> None:
    times_as_long(earlier, 1e-3)
    answer = shell(*AGAINST[:4], "--repeat", 5, *AGAINST[6:])
    assert answer.code == 0
    assert "It takes 6 iterations on each side: the file has 7, now there are 5; see --repeat." in answer.out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cpu": "Another CPU"}, "--other-machine"),
        ({"rows": 501}, "rows: 501, now 500"),
        ({"network": [3, 5, 1]}, "network: [3, 5, 1], now [3, 5, 4, 1]"),
        ({"method": "sgd"}, "method: sgd, now admm"),
        ({"repeat": "many"}, "no document of bench (its repeat)"),
    ],
)
def test_a_file_of_something_else_is_refused(
    shell: Shell, earlier: dict[str, Any], monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    Path("old.json").write_text(json.dumps({**earlier, **changes}))
    if "cpu" in changes:
        assert shell(*AGAINST, "--other-machine").code in (0, 1)
    monkeypatch.setattr(driver, "measure", lambda *given: pytest.fail("measured before it was refused"))
    assert words in shell.refusal(*AGAINST)


@pytest.mark.parametrize("content", [None, "", "[1]", "{}", "{"])
def test_a_file_that_is_no_bench_is_refused(shell: Shell, content: str | None) -> None:
    if content is not None:
        Path("old.json").write_text(content)
    message = shell.refusal(*AGAINST)
    assert "--against old.json: " in message
    assert "write one with: admmctl bench --json" in message


@pytest.mark.parametrize("option", [("--fail-if-slower", "5%"), ("--other-machine",)])
def test_options_of_the_gate_need_a_file(shell: Shell, option: tuple[str, ...]) -> None:
    assert "go with --against FILE" in shell.refusal("bench", "tiny.yaml", *option)


# --- what is refused


def test_torch_is_asked_for_in_words(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(driver, "measure", lambda *arguments: pytest.fail("measured before it was refused"))
    changes = ["--set", "methods={torch-adam: {}}", "--set", "loss=cross-entropy"]
    message = shell.refusal("bench", "tiny.yaml", *changes)
    assert "the package torch, which is not installed" in message
    assert "pip install 'admmctl[torch]'" in message


def test_a_method_of_one_rank_is_refused_on_two(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods.load("admm"), "ranks", 1, raising=False)
    message = shell.refusal("bench", "tiny.yaml", "--cores", 2, "--oversubscribe")
    assert "method admm runs on one rank" in message


@pytest.mark.usefixtures("quick")
def test_rows_that_do_not_fit_into_memory_are_refused(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 50_000_000)  # besides what these tests hold already
    message = shell.refusal("bench", "--rows", 10**6)
    assert "of memory per rank" in message
    (free,) = re.findall(r"where (0\.\d\d) GB are free", message)
    assert 50e6 <= 1e9 * float(free) <= PROGRAM_BYTES + 50e6
    assert shell("bench", "--rows", 1000, "--repeat", 1).code == 0
    monkeypatch.undo()
    # As many as can be asked for, 12 TB and more, fit nowhere.
    assert "of memory per rank" in shell.refusal("bench", "--rows", 10**10)
