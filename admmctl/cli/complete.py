"""What a shell offers at the Tab key: files, methods, datasets, runs. It imports nothing that loads slowly."""

import os
from collections.abc import Iterator
from pathlib import Path

import typer

from admmctl.experiment import bundled


def configs(incomplete: str) -> list[str]:
    """Experiment files and folders that begin with what was typed; and those in ./configs, or else the names of
    those that came with admmctl.
    """
    found = set(_typed(incomplete))
    if "/" not in incomplete:
        here = {f"{path}" for path in _entries(bundled.HERE) if path.suffix in bundled.SUFFIXES}
        found |= here or set(bundled.names())
    return sorted(name for name in found if name.startswith(incomplete))


def _typed(incomplete: str) -> Iterator[str]:
    """Experiment files and folders in the folder that was typed."""
    above = incomplete[: incomplete.rfind("/") + 1]
    for path in _entries(Path(above or ".")):
        name = f"{above}{path.name}"
        if not path.name.startswith("."):
            if path.is_dir():
                yield f"{name}/"
            elif path.suffix in bundled.SUFFIXES:
                yield name


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def methods(context: typer.Context, incomplete: str) -> list[str]:
    """The methods of the experiment file on the command line, and 'all' where the command takes it.

    After a comma another one of them.
    """
    import yaml

    # While the option has no value yet, the arguments before it are not sorted into parameters.
    named = [context.params.get("config"), *context.args]
    try:
        file = bundled.experiment_file(next(argument for argument in named if argument is not None))
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        names = [str(name) for name in content["methods"]]
    except (StopIteration, OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return []
    if context.info_name == "train":
        names.append("all")
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]


def datasets(incomplete: str) -> list[str]:
    """The datasets that exist."""
    from admmctl.data.catalog import datasets as known

    return [name for name in known if name.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Experiments, runs and studies in the results folder, with its name in front or without, as was typed."""
    results = Path(os.environ.get("ADMMCTL_RESULTS") or "results")
    found = []
    for experiment in _entries(results):
        inner = [run for run in _entries(experiment) if (run / "config.yaml").is_file() or _is_study(run)]
        if inner:
            found += [f"{path}" for path in (experiment, *inner)]
    short = [name.removeprefix(f"{results}/") for name in found]
    whole = [name for name in found if name.startswith(incomplete)]
    return whole or [name for name in short if name.startswith(incomplete)]


def _is_study(path: Path) -> bool:
    return (path / "study.json").is_file() or (path.name.startswith("sweep-") and path.is_dir())
