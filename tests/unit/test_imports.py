"""Who may import whom (the house's design), held by reading every module's imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import admmctl

PACKAGE = Path(admmctl.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# cli -> papers -> report -> studies -> runs -> launch -> experiment -> {methods, data} -> model -> comm, the rest
BASE = {"comm", "errors", "files", "folders", "registry", "revision", "rng", "settings"}
MAY_IMPORT = {
    "kernels": set(),
    "table_kernels": {"kernels"},
    "devices": {"comm", "errors", "settings"},
    "model": {"kernels", "table_kernels", "devices", "errors", "registry", "rng", "settings"},
    "methods": {"model", "kernels", "devices", "comm", "errors", "registry", "rng", "settings"},
    "data": {"kernels", *BASE},
    "experiment": {"data", "methods", "model", "devices", *BASE},
    "launch": {"experiment", *BASE},
    "runs": {"launch", "experiment", "data", "methods", "model", "devices", *BASE},
    "report": {"studies", "runs", "experiment", "data", "model", *BASE},
    "studies": {"runs", "launch", "experiment", "data", "methods", "model", "kernels", "devices", *BASE},
    "papers": {"studies", "report", "runs", "launch", "experiment", "data", "methods", "model", *BASE},
    "estimators": {"experiment", "data", "methods", "model", *BASE},
    "cli": {"papers", "studies", "report", "runs", "launch", "experiment", "data", *BASE},
    **dict.fromkeys(BASE, BASE),
    "__main__": {"cli"},
    "": {"report", "runs", "launch"},  # admmctl itself
}
DRIVER_ONLY = {"typer", "rich", "pandas", "matplotlib", "jinja2"}
NEVER_IN_A_METHOD = {"yaml", "mpi4py", *DRIVER_ONLY}
FILES_AND_PROCESSES = {"os", "io", "pathlib", "shutil", "tempfile", "subprocess", "json", "csv", "pickle"}


def part(path: Path) -> str:
    """The part of the house that a module belongs to: 'model', 'cli', ..., and '' for the package itself."""
    place = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if place == ("__init__",) else place[0]


def imports(path: Path) -> Iterator[str]:
    """Every module that ``path`` imports, at its top or inside a function, by its full name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            # `from admmctl import kernels` names a module, too
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def of_this_package(path: Path) -> set[str]:
    """The parts of the house that a module imports."""
    found = set()
    for name in imports(path):
        package, _, rest = name.partition(".")
        imported = rest.partition(".")[0]
        if package == "admmctl" and imported and not imported.startswith("__"):
            found.add(imported)
    return found


def outside(path: Path) -> set[str]:
    """The top-level packages of others that a module imports."""
    return {name.partition(".")[0] for name in imports(path)} - {"admmctl"}


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_point_downwards(path):
    assert part(path) in MAY_IMPORT, "a new part of the house: say here whom it may import"
    wrong = of_this_package(path) - MAY_IMPORT[part(path)] - {part(path)}
    assert not wrong, f"{name(path)} must not import {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("path", [p for p in MODULES if part(p) in ("methods", "model", "kernels")], ids=name)
def test_methods_and_model_know_arrays_and_a_communicator_only(path):
    assert not outside(path) & NEVER_IN_A_METHOD
    if part(path) != "kernels":  # which asks the environment for the kind of its loops
        assert not outside(path) & FILES_AND_PROCESSES
    calls = {
        node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    assert not calls & {"open", "print", "memmap", "savez", "save", "loadtxt", "fromfile", "tofile"}


def dotted(path: Path) -> str:
    """The name of a module as it is imported."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def test_modules_import_one_another_in_no_circle():
    # But for the package itself: ``admmctl.train`` loads the driver on first use, and ranks never use it.
    modules = {dotted(path): path for path in MODULES if dotted(path) != "admmctl"}
    graph = {}
    for name, path in modules.items():
        found = modules.keys() & set(imports(path))
        # ``from admmctl.runs import record`` means the module, not its package.
        graph[name] = {other for other in found if not any(more.startswith(f"{other}.") for more in found)}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_only_the_communicator_imports_mpi4py():
    assert [name(path) for path in MODULES if "mpi4py" in outside(path)] == ["comm.py"]


def test_only_the_estimators_and_the_trees_import_scikit_learn():
    assert {
        part(path) if part(path) == "estimators" else name(path) for path in MODULES if "sklearn" in outside(path)
    } == {
        "estimators",
        "methods/trees/libraries.py",
    }


def test_without_scikit_learn_the_estimators_name_the_extra():
    code = "import sys; sys.modules['sklearn'] = None; import admmctl.estimators"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: admmctl.estimators needs scikit-learn" in done.stderr
    assert "pip install 'admmctl[sklearn]'" in done.stderr


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("admmctl.runs.worker", DRIVER_ONLY),  # thousands of ranks start it
        ("admmctl.methods.taylor.algorithm", NEVER_IN_A_METHOD - {"yaml"}),  # numba itself loads yaml
    ],
)
def test_what_a_module_loads(module, unwanted):
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "numpy" in loaded
    assert not unwanted & loaded


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        (
            "admmctl.cli",
            {"numpy", "scipy", "pandas", "matplotlib", "pydantic", "yaml", "rich"},
        ),  # also at the Tab key
        ("admmctl.runs.jobs, admmctl.report.tables", {"numpy", "scipy", "pandas", "matplotlib"}),  # runs list
        ("admmctl.report.compare", {"numpy", "scipy", "pandas", "matplotlib"}),
        ("admmctl.report.figures", {"scipy.stats", "pandas"}),
        ("admmctl.report.page, admmctl.papers.told", {"scipy.special", "scipy.stats", "pandas"}),
    ],
)
def test_what_reads_many_runs_loads_little(module: str, unwanted: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "typer" in loaded or "rich" in loaded
    assert not unwanted & loaded


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_everything_public_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    # Methods may leave it to the protocol that they fulfil.
    assert ast.get_docstring(tree) or not tree.body
    assert [node.name for node in public if not ast.get_docstring(node)] == []


TESTS = Path(__file__).parents[1]


def test_no_test_file_imports_another() -> None:
    wrong = [
        f"{path.relative_to(TESTS)}: {module}"
        for path in TESTS.rglob("*.py")
        for module in imports(path)
        if any(name.startswith("test_") for name in module.split(".")[:2])
    ]
    assert wrong == [], "what several tests use belongs to tests/support"
