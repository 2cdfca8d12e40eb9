"""Experiment files: YAML in, a checked experiment out, every problem at once.

An experiment names data, a network, a loss and one or more methods. ``Experiment.resolve`` puts together
what one run needs: the blocks of its method, defaults filled in, as ``Run``.
"""

import copy
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from admmctl.data.catalog import datasets
from admmctl.data.dataset import DataSettings
from admmctl.errors import ConfigError, UserError
from admmctl.experiment.checks import (
    check_activation,
    check_convolution,
    check_name,
    check_outputs,
    check_start,
    check_stop,
    check_sweep,
    validate,
)
from admmctl.experiment.explain import Problem, report
from admmctl.experiment.schema import (
    MAX_NAME,
    NAME,
    NAME_IN_WORDS,
    CheckpointSettings,
    Evaluate,
    File,
    MethodBlock,
    NetworkSettings,
    Stop,
    SweepSettings,
)
from admmctl.experiment.yamlfile import Document, dump, parse_value, read
from admmctl.methods.method import methods
from admmctl.model.losses import losses
from admmctl.registry import suggest
from admmctl.settings import Settings


@dataclass(frozen=True)
class Run:
    """One method of one experiment, everything decided."""

    experiment: str
    method: str
    kind: str
    data: DataSettings
    network: NetworkSettings
    loss: str
    settings: Settings
    stop: Stop
    evaluate: Evaluate
    seed: int
    threads: int | Literal["auto"] | None
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)

    def document(self) -> dict[str, Any]:
        """The run as an experiment file of its own, with every default written out."""
        network, stop = self.network.plain(), self.stop.plain()
        document: dict[str, Any] = {
            "name": self.experiment,
            "data": {k: v for k, v in self.data.plain().items() if v is not None},
            "network": {k: v for k, v in network.items() if v is not None},
            "loss": self.loss,
            "methods": {self.method: {"kind": self.kind, **self.settings.plain()}},
            "stop": {k: v for k, v in stop.items() if v is not None},
            "evaluate": self.evaluate.plain(),
            "seed": self.seed,
        }
        if self.threads is not None:
            document["threads"] = self.threads
        if self.checkpoint != CheckpointSettings():
            document["checkpoint"] = {k: v for k, v in self.checkpoint.plain().items() if v is not None}
        return document

    def hash(self) -> str:
        """Eight hexadecimal digits over data, network, loss, method and seed; not stop, ranks or paths."""
        document = self.document()
        identity = {key: document[key] for key in ("data", "network", "loss", "methods", "seed")}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Experiment:
    """A checked experiment file."""

    name: str
    runs: dict[str, Run]  # by method, in the order of the file: the first is the default
    path: Path | None
    sweep: SweepSettings | None = None

    def select(self, method: str | None) -> list[Run]:
        """The runs that ``--method`` names: the first by default, one by name, or 'all'."""
        if method is None:
            return [next(iter(self.runs.values()))]
        if method == "all":
            return list(self.runs.values())
        if method not in self.runs:
            raise UserError(f"--method: unknown method '{method}'{suggest(method, [*self.runs, 'all'])}")
        return [self.runs[method]]


def load(
    config: str | Path | Mapping[str, Any],
    overrides: Iterable[str] = (),
    changes: Mapping[tuple[str, ...], Any] | None = None,
) -> Experiment:
    """Read and check an experiment: a file's path, or a mapping with the same keys.

    ``overrides`` are ``key=value`` pairs as in ``--set``, ``changes`` are values by their path.
    Raises ConfigError with every problem found: file, line, key, what was expected, the nearest valid key.
    """
    path = None if isinstance(config, Mapping) else Path(config)
    if path is None:
        document = Document(copy.deepcopy(dict(config)), {}, "the experiment")  # type: ignore[arg-type]
    else:
        document = read(path)
    for override in overrides:
        _override(document, override)
    for keys, value in (changes or {}).items():
        _put(document, keys, value, f"{'.'.join(keys)}={value}")
    problems: list[Problem] = []
    experiment = _check(document, path, problems)
    if problems or experiment is None:
        raise ConfigError(report(document, problems))
    return experiment


def with_seed(run: Run, seed: int) -> Run:
    """The same run from another random start."""
    return Run(**{**run.__dict__, "seed": seed})


def _override(document: Document, override: str) -> None:
    """Apply one ``--set key=value``; the value is YAML, and a mapping replaces the whole block."""
    key, equals, text = override.partition("=")
    keys = [part for part in key.strip().split(".") if part]
    if not equals or not keys:
        raise UserError(f"--set {override}: expected key=value, for instance methods.admm.beta=1")
    _put(document, tuple(keys), parse_value(text, override), override)


def _put(document: Document, keys: tuple[str, ...], value: Any, override: str) -> None:
    """Put a value at its path, making blocks on the way; messages will name ``override``."""
    block: Any = document.content
    for depth, part in enumerate(keys[:-1]):
        if block.get(part) is None:
            block[part] = {}
            document.mark_override(keys[: depth + 1], override)
        block = block[part]
        if not isinstance(block, dict):
            raise UserError(f"--set {override}: {'.'.join(keys[: depth + 1])} is not a block with keys")
    block[keys[-1]] = value
    document.mark_override(keys, override)


def _check(document: Document, path: Path | None, problems: list[Problem]) -> Experiment | None:
    file = validate(File, document.content, (), problems)
    content = document.content
    data = _check_data(content.get("data"), None if file is None else file.validation, problems)
    runs: dict[str, Run] = {}
    blocks = content.get("methods")
    for method, block in blocks.items() if isinstance(blocks, dict) else ():
        if block is None or isinstance(block, dict):
            run = _check_method(str(method), block or {}, content, file, data, problems)
            if run is not None:
                runs[run.method] = run
    if file is not None and file.sweep is not None:
        check_sweep(file.sweep, list(file.methods), {name: run.settings for name, run in runs.items()}, problems)
    if file is None or data is None or problems:
        return None
    return Experiment(file.name, runs, path, file.sweep)


def _check_data(block: Any, validation: float | None, problems: list[Problem]) -> DataSettings | None:
    if not isinstance(block, dict):
        return None  # the file's own check says so
    name = block.get("name")
    if not isinstance(name, str):
        problems.append(Problem(("data", "name"), f"a dataset's name is needed; valid: {', '.join(datasets)}"))
        return None
    if name not in datasets:
        problems.append(Problem(("data", "name"), f"unknown dataset '{name}'{suggest(name, list(datasets))}"))
        return None
    block = dict(block)
    if validation is not None:
        block.setdefault("validation", validation)
    if isinstance(block.get("test"), int) and not isinstance(block["test"], bool):
        block["test"] = float(block["test"])
    settings: DataSettings | None = validate(datasets.load(name).Settings, block, ("data",), problems)
    if settings and settings.classes and len(settings.classes) == 1:
        problems.append(Problem(("data", "classes"), "at least two classes are needed to tell apart"))
    if settings and settings.classes and len(set(settings.classes)) < len(settings.classes):
        problems.append(Problem(("data", "classes"), "a class is named twice"))
    return settings


def _check_method(
    name: str,
    block: dict[str, Any],
    content: dict[str, Any],
    file: File | None,
    data: DataSettings | None,
    problems: list[Problem],
) -> Run | None:
    where = ("methods", name)
    if not re.fullmatch(NAME, name) or len(name) > MAX_NAME:
        problems.append(Problem(where, f"a method's name becomes a folder: {NAME_IN_WORDS}"))
    kind = block.get("kind", name)
    if not isinstance(kind, str) or kind not in methods:
        key = ("methods", name, "kind") if "kind" in block else where
        problems.append(Problem(key, f"unknown method '{kind}'{suggest(str(kind), list(methods))}"))
        return None
    method = methods.load(kind)
    preset = block.get("preset")
    if preset is not None and (not isinstance(preset, str) or preset not in method.presets):
        valid = ", ".join(method.presets) or f"{kind} has none"
        problems.append(Problem((*where, "preset"), f"unknown preset '{preset}'; valid: {valid}"))
        return None
    merged = {**_on_top(method.presets[preset] if preset else {}, block), "kind": kind}
    common_keys = set(MethodBlock.model_fields) - set(method.Settings.model_fields)
    common = validate(MethodBlock, {k: v for k, v in merged.items() if k in common_keys}, where, problems)
    own = {key: value for key, value in merged.items() if key not in common_keys}
    settings = validate(method.Settings, own, where, problems, also=common_keys)
    if common is None:
        common = MethodBlock(kind=kind)  # what is wrong was noted; look for more

    network_block = {**_block(content, "network"), **(common.network or {})}
    if common.bias is not None:
        network_block["bias"] = common.bias
    network = validate(NetworkSettings, network_block, (*where, "network"), problems, shadow=("network",))
    stop = validate(Stop, _merge_stop(content, common.stop), (*where, "stop"), problems, shadow=("stop",))
    unit = method.unit if settings is None else method.unit_of(settings)
    evaluate_block = {"unit": unit, **_block(content, "evaluate"), **(common.evaluate or {})}
    evaluate = validate(Evaluate, evaluate_block, (*where, "evaluate"), problems, shadow=("evaluate",))
    loss = common.loss if common.loss is not None else content.get("loss")
    network_key = (*where, "network") if common.network else ("network",)
    loss_key = (*where, "loss") if common.loss else ("loss",)
    stop_key = (*where, "stop") if common.stop else ("stop",)
    if isinstance(loss, str):
        check_name(loss, list(losses), method.losses, loss_key, kind, "loss", problems)
    activation, key = network_block.get("activation", "relu"), (*network_key, "activation")
    if isinstance(activation, str):
        check_activation(activation, method.activations, key, kind, problems)
    if network is not None:
        check_outputs(network, data, (*network_key, "outputs"), problems)
        check_start(network, network_key, kind, bool(method.own_model), problems)
        check_convolution(network, data, (*network_key, "convolution"), kind, problems)
    if stop is not None:
        check_stop(stop, stop_key, data, problems)
    if network is not None and settings is not None:
        convolutions = len(network.convolution.filters) if network.convolution else 0
        for own_key, message in method.check(settings, convolutions + len(network.layers) + 1):
            problems.append(Problem((*where, own_key), message))
    if file is None or data is None or settings is None or not isinstance(loss, str):
        return None
    if network is None or stop is None or evaluate is None:
        return None
    threads = common.threads if common.threads is not None else file.threads
    return Run(
        file.name,
        name,
        kind,
        data,
        network,
        loss,
        settings,
        stop,
        evaluate,
        file.seed,
        threads,
        file.checkpoint,
    )


def _block(content: dict[str, Any], key: str) -> dict[str, Any]:
    block = content.get(key)
    return dict(block) if isinstance(block, dict) else {}


def _on_top(preset: dict[str, Any], block: dict[str, Any]) -> dict[str, Any]:
    """A method block over its preset; blocks within are merged key by key."""
    merged = {**preset, **block}
    for key, inner in preset.items():
        if isinstance(inner, dict) and isinstance(block.get(key), dict):
            merged[key] = {**inner, **block[key]}
    return merged


def _merge_stop(content: dict[str, Any], override: dict[str, Any] | None) -> dict[str, Any]:
    """A method's ``stop`` over the experiment's: iterations and epochs are one budget in two units."""
    stop = _block(content, "stop")
    if override and ("iterations" in override or "epochs" in override):
        stop.pop("iterations", None)
        stop.pop("epochs", None)
    stop.update(override or {})
    if all(stop.get(key) is None for key in ("iterations", "epochs", "seconds")):
        stop["iterations"] = 100
    return stop


def to_yaml(document: Mapping[str, Any]) -> str:
    """An experiment as YAML text, keys in their order."""
    return dump(dict(document))
