"""README and docs: commands parse, links lead somewhere, names are known, and the worked examples run."""

import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from support.problems import problem
from support.ranks import on_ranks

import admmctl.cli  # noqa: F401 - the commands
from admmctl.cli import main
from admmctl.cli.app import app
from admmctl.data.catalog import datasets
from admmctl.data.dataset import DataSettings
from admmctl.experiment.config import load
from admmctl.experiment.schema import (
    CheckpointSettings,
    Evaluate,
    File,
    NetworkSettings,
    Range,
    Stop,
    SweepSettings,
)
from admmctl.methods.method import methods
from admmctl.model.activations import activations
from admmctl.model.losses import losses
from admmctl.runs.train import train as train_all

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """Language, file name and text of every fenced block: ```python class_means.py"""
    for words, text in re.findall(r"^```([^\n`]*)\n(.*?)^```$", page.read_text(), re.M | re.S):
        language, _, name = words.partition(" ")
        yield language, name.strip(), text


def named(page: str, name: str) -> str:
    """The text of the one block that is the file ``name``."""
    (text,) = (text for _, found, text in blocks(ROOT / "docs" / page) if found == name)
    return text


def commands() -> list[Any]:
    """Every line of a block that begins with admmctl, continuations joined, and of && each part."""
    found = []
    for page in PAGES:
        for _, _, text in blocks(page):
            lines = text.replace("\\\n", " ").splitlines()
            parts = [part.strip() for line in lines for part in line.split(" && ")]
            shown = f"{page.relative_to(ROOT)}: "
            found += [pytest.param(part, id=shown + part) for part in parts if part.startswith("admmctl ")]
    return found


def mentions() -> list[Any]:
    """What stands in backticks in the text and begins with admmctl: often a part of a command."""
    found = []
    for page in PAGES:
        prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
        for part in re.findall(r"`(admmctl [^`]+)`", prose):
            line = " ".join(part.split())
            found.append(pytest.param(line, id=f"{page.relative_to(ROOT)}: {line}"))
    return found


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command of a line and what its parameters are. Raises typer's errors, which have ``show``."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("admmctl", list(words))
    path = []
    while hasattr(command, "resolve_command") and (rest := [*context._protected_args, *context.args]):
        name, command, rest = command.resolve_command(context, rest)
        path.append(name)
        context = command.make_context(name, rest, parent=context)
    return " ".join(path), context.params


def left_out(words: list[str]) -> bool:
    """Whether a line would write to the home folder, or names no command."""
    return words in (["--install-completion"], ["COMMAND", "--help"])


@pytest.mark.parametrize("line", commands())
def test_commands_on_pages_are_understood(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    if left_out(words):
        return
    path, params = parsed(words)
    assert path or params
    for value in params.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, Path) and item.parts[:1] == ("configs",) and item.name != "mine.yaml":
                assert (ROOT / item).is_file(), f"{item} does not exist"


@pytest.mark.parametrize("line", mentions())
def test_commands_in_the_text_exist_and_have_these_options(line: str) -> None:
    words = shlex.split(line)[1:]
    if left_out(words):
        return
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands") or not words or command.name == "datasets", line
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_experiments_and_methods_in_commands_exist() -> None:
    checked = 0
    for line in (parameter.values[0] for parameter in commands()):
        words = shlex.split(line, comments=True)[1:]
        if left_out(words):
            continue
        _, params = parsed(words)
        config, method, changes = (params.get(key) for key in ("config", "method", "settings"))
        if config is None or not (ROOT / config).is_file() or "rige" in line:
            continue
        experiment = load(ROOT / config, changes or [])
        for name in [None] if method is None else method.split(","):
            experiment.select(name)
        checked += 1
    assert checked >= 20


def test_a_wrong_command_would_be_noticed() -> None:
    for wrong in ("trian configs/mnist.yaml", "train", "train configs/mnist.yaml --core 2", "runs lst"):
        with pytest.raises(Exception) as error:
            parsed(shlex.split(wrong))
        assert hasattr(error.value, "show")  # wrong usage, in typer's words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match("[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    for path in re.findall(r"\b(?:configs|benchmarks|tests|admmctl)/[\w./-]*\w\b", page.read_text()):
        if path.startswith("configs/clusters/mine"):  # the one that adding-a-cluster.md makes
            continue
        assert (ROOT / path).exists(), f"{page.name} names {path}"


def anchors(page: Path) -> set[str]:
    """What headings are called in addresses: small letters, hyphens for blanks, nothing else."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def first_column(page: Path, heading: str) -> set[str]:
    """The names in backticks of the first column of the first table below a heading."""
    section = page.read_text().split(heading + "\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.M)
    assert table is not None
    return {name for row in table[0].splitlines() for name in re.findall("`([^`]+)`", row.split("|")[1])}


def test_the_tables_of_the_readme_name_all_that_there_is() -> None:
    assert first_column(ROOT / "README.md", "## Methods") == set(methods)
    assert first_column(ROOT / "README.md", "## Data") == set(datasets)


def method_rows() -> list[tuple[list[str], list[str]]]:
    """The table of docs/methods.md: methods of a row, and its columns."""
    rows = []
    for line in (ROOT / "docs" / "methods.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and cells[0].startswith("`"):
            rows.append((re.findall("`([^`]+)`", cells[0]), cells))
    return rows


def test_the_table_of_methods_says_what_they_take() -> None:
    wanted: Any = losses
    names = {name for found, _ in method_rows() for name in found}
    assert names == set(methods)
    for found, cells in method_rows():
        for name in found:
            method = methods.load(name)
            text = (
                cells[1]
                .replace("all four", ", ".join(wanted))
                .replace("these and cross-entropy", "squared, signed-squared, hinge, cross-entropy")
            )
            assert set(text.split(", ")) == set(method.losses), name
            if cells[2] not in ("-", "all"):
                assert set(cells[2].split(", ")) == set(method.activations), name
            if cells[2] == "all":
                assert set(method.activations) == set(activations), name
            assert (cells[3] == "yes" or f"`{name}`" in cells[3]) == getattr(method, "convolutions", False), name
            assert (cells[4] == "yes" or f"`{name}`" in cells[4]) == method.recurrent, name


SETTINGS = {  # page, heading -> the settings whose keys its table has
    "## admm": ("admm", set()),
    "## graph-admm": ("graph-admm", set()),
    "## convex-admm": ("convex-admm", set()),
    "## trees": ("trees", set()),
    "## foof, kfac": ("kfac", set()),
    "## muon": ("muon", set()),
    "## sgd, adam, gd": ("sgd", {"beta1", "beta2", "epsilon"}),
}


@pytest.mark.parametrize("heading", SETTINGS)
def test_tables_of_settings_have_every_key(heading: str) -> None:
    method, others = SETTINGS[heading]
    given = first_column(ROOT / "docs" / "methods.md", heading)
    assert given - others <= set(methods.load(method).Settings.model_fields), heading
    section = (ROOT / "docs" / "methods.md").read_text().split(heading + "\n", 1)[1].split("\n## ", 1)[0]
    for key in methods.load(method).Settings.model_fields:
        assert f"`{key}`" in section or f"`{key}:" in section, f"{heading} does not speak of {key}"


def test_the_experiment_file_has_every_key() -> None:
    page = (ROOT / "docs" / "experiments.md").read_text()
    for block in (File, DataSettings, NetworkSettings, Stop, Evaluate, CheckpointSettings, SweepSettings, Range):
        for key in block.model_fields:
            assert f"`{key}`" in page or re.search(rf"\b{key}:\s", page), f"{block.__name__}.{key}"
    for name in datasets:
        for key in datasets.load(name).Settings.model_fields:
            assert f"`{key}`" in page, f"{name}: {key}"
    for name in [*losses, *activations]:
        assert f"`{name}" in page, name


def test_pages_are_narrow_and_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
    for page in PAGES:
        if page.name == "CONTRIBUTING.md":
            continue
        inside = False
        for number, line in enumerate(page.read_text().splitlines(), start=1):
            inside ^= line.startswith("```")
            if not (inside or line.startswith("|") or line.startswith("```")):
                assert len(line) <= 120, f"{page.name}:{number}"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any, str], None]:
    """Installs the package that a page makes: its code, and the entry points of its pyproject.toml."""

    def install(page: str, registry: Any, module: str) -> None:
        monkeypatch.setattr(registry, "_searched", False)
        monkeypatch.setattr(registry, "_places", dict(registry._places))
        project = tomllib.loads(named(page, "pyproject.toml"))["project"]
        info = tmp_path / "site" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
        lines = []
        for group, points in project["entry-points"].items():
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        (tmp_path / "site" / f"{module}.py").write_text(named(page, f"{module}.py"))
        monkeypatch.syspath_prepend(tmp_path / "site")

    return install


@pytest.fixture
def train(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], dict[str, dict[str, Any]]]:
    """Trains every method of an experiment that a page has; summaries by method."""

    def run(page: str, name: str) -> dict[str, dict[str, Any]]:
        (tmp_path / name).write_text(named(page, name))
        monkeypatch.chdir(tmp_path)
        return {summary["method"]: summary for summary in train_all(tmp_path / name, method="all")}

    return run


Install = Callable[[str, Any, str], None]
Train = Callable[[str, str], dict[str, dict[str, Any]]]


def test_the_method_of_the_page_trains(installed: Install, train: Train) -> None:
    installed("adding-a-method.md", methods, "class_means")
    runs = train("adding-a-method.md", "means.yaml")
    # What the page shows.
    assert runs["class-means"]["final_test_accuracy"] == pytest.approx(0.52, abs=5e-4)
    assert runs["linear"]["final_test_accuracy"] == pytest.approx(0.5246, abs=5e-4)


def test_the_method_of_the_page_is_that_of_nearest_means_on_any_ranks(installed: Install) -> None:
    installed("adding-a-method.md", methods, "class_means")
    method = methods.load("class-means")

    def weights(comm: Any) -> Any:
        made = method(method.Settings())
        share = 90 // comm.size
        columns = slice(comm.rank * share, (comm.rank + 1) * share)
        p = problem([], outputs=3, comm=comm, samples=90, columns=columns)
        return p, made.weights(made.step(made.init(p)))[0]

    ((whole, W),) = on_ranks(1, weights)
    for _, of_rank in on_ranks(3, weights):
        np.testing.assert_allclose(of_rank, W, rtol=1e-6, atol=1e-9)
    x = whole.a0[:-1]
    means = np.stack([x[:, y == 1].mean(axis=1) for y in whole.y])
    nearest = ((x[None] - means[:, :, None]) ** 2).sum(axis=1).argmin(axis=0)
    np.testing.assert_array_equal((W @ whole.a0).argmax(axis=0), nearest)


def test_the_dataset_of_the_page_trains(installed: Install, train: Train) -> None:
    installed("adding-a-dataset.md", datasets, "rings")
    runs = train("adding-a-dataset.md", "rings.yaml")
    assert runs["admm"]["final_test_accuracy"] > 0.99
    assert runs["linear"]["final_test_accuracy"] == pytest.approx(0.5044, abs=5e-4)


def test_rows_of_the_dataset_of_the_page_do_not_depend_on_others(installed: Install) -> None:
    installed("adding-a-dataset.md", datasets, "rings")
    made = datasets.load("rings")()
    source = made.open(made.Settings(rows=50))
    whole, some = np.empty((50, 2), np.float32), np.empty((7, 2), np.float32)
    source.inputs("train", range(50), whole)
    rows = np.array([3, 49, 0, 8, 7, 21, 2])
    source.inputs("train", rows, some)
    np.testing.assert_array_equal(some, whole[rows])
    assert set(source.labels("train", rows)) == {0, 1}


def test_the_cluster_of_the_page_makes_the_script_that_it_shows(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(named("adding-a-cluster.md", "mine.yaml"))
    config = str(ROOT / "configs" / "swissroll.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(f"train {config} --cores 64 --launcher sbatch --cluster mine.yaml --dry-run".split())
    assert end.value.code == 0
    script = capsys.readouterr().out.splitlines()
    (shown,) = (text for _, _, text in blocks(ROOT / "docs" / "adding-a-cluster.md") if text.startswith("#!"))
    assert len(shown.splitlines()) >= 8
    for line in shown.splitlines():
        assert line == "..." or line in script
