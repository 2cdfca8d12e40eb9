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

import yaml
from pydantic import ValidationError

from admmctl.data.catalog import datasets
from admmctl.data.dataset import DataSettings
from admmctl.errors import ConfigError, UserError
from admmctl.explain import Problem, explain, report
from admmctl.methods.method import methods
from admmctl.model.activations import activation as activation_of
from admmctl.model.activations import activations, name_of
from admmctl.model.losses import losses
from admmctl.registry import suggest
from admmctl.schema import (
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
from admmctl.settings import Settings
from admmctl.yamlfile import Document, parse_value, read


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
    file = _validate(File, document.content, (), problems)
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
        _check_sweep(file.sweep, list(file.methods), runs, problems)
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
    settings: DataSettings | None = _validate(datasets.load(name).Settings, block, ("data",), problems)
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
    common = _validate(MethodBlock, {k: v for k, v in merged.items() if k in common_keys}, where, problems)
    own = {key: value for key, value in merged.items() if key not in common_keys}
    settings = _validate(method.Settings, own, where, problems, also=common_keys)
    if common is None:
        common = MethodBlock(kind=kind)  # what is wrong was noted; look for more

    network_block = {**_block(content, "network"), **(common.network or {})}
    if common.bias is not None:
        network_block["bias"] = common.bias
    network = _validate(NetworkSettings, network_block, (*where, "network"), problems, shadow=("network",))
    stop = _validate(Stop, _merge_stop(content, common.stop), (*where, "stop"), problems, shadow=("stop",))
    unit = method.unit if settings is None or not hasattr(method, "unit_of") else method.unit_of(settings)
    evaluate_block = {"unit": unit, **_block(content, "evaluate"), **(common.evaluate or {})}
    evaluate = _validate(Evaluate, evaluate_block, (*where, "evaluate"), problems, shadow=("evaluate",))
    loss = common.loss if common.loss is not None else content.get("loss")
    network_key = (*where, "network") if common.network else ("network",)
    loss_key = (*where, "loss") if common.loss else ("loss",)
    stop_key = (*where, "stop") if common.stop else ("stop",)
    if isinstance(loss, str):
        _check_name(loss, list(losses), method.losses, loss_key, kind, "loss", problems)
    activation, key = network_block.get("activation", "relu"), (*network_key, "activation")
    if isinstance(activation, str):
        _check_activation(activation, method.activations, key, kind, problems)
    if network is not None:
        _check_outputs(network, data, (*network_key, "outputs"), problems)
        _check_start(network, network_key, kind, hasattr(method, "own_model"), problems)
        _check_convolution(network, data, (*network_key, "convolution"), kind, problems)
    if stop is not None:
        _check_stop(stop, stop_key, data, problems)
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


def _check_sweep(sweep: SweepSettings, known: list[str], runs: dict[str, Run], problems: list[Problem]) -> None:
    """The methods of a search space exist, and so do the keys it varies."""
    for method, space in sweep.space.items():
        where = ("sweep", "space", method)
        if method not in known:
            problems.append(Problem(where, f"there is no method '{method}'{suggest(method, known)}"))
        if method not in runs:
            continue
        valid = [*type(runs[method].settings).model_fields, *MethodBlock.model_fields]
        for key, values in space.items():
            if key.partition(".")[0] not in valid:
                problems.append(Problem((*where, key), f"unknown key '{key}'{suggest(key, valid)}"))
            elif isinstance(values, list) and not values:
                problems.append(Problem((*where, key), "no values; give a list of values, or low and high"))


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


def _check_name(
    name: str,
    known: list[str],
    supported: tuple[str, ...],
    key: tuple[str | int, ...],
    kind: str,
    what: str,
    problems: list[Problem],
) -> None:
    if name not in known:
        problems.append(Problem(key, f"unknown {what} '{name}'{suggest(name, known)}"))
    elif name not in supported:
        problems.append(Problem(key, f"method {kind} has no {what} '{name}'; it has: {', '.join(supported)}"))


def _check_activation(
    text: str, supported: tuple[str, ...], key: tuple[str | int, ...], kind: str, problems: list[Problem]
) -> None:
    """The name is known to the method, and its numbers make sense: dcutlu(0, 1)."""
    before = len(problems)
    _check_name(name_of(text), list(activations), supported, key, kind, "activation", problems)
    if len(problems) == before:
        try:
            activation_of(text)
        except ValueError as wrong:
            problems.append(Problem(key, str(wrong)))


def _check_outputs(
    network: NetworkSettings, data: DataSettings | None, key: tuple[str | int, ...], problems: list[Problem]
) -> None:
    classes = len(data.classes) if data is not None and data.classes else None
    if network.outputs is None or classes is None:
        return
    valid = (1, 2) if classes == 2 else (classes,)
    if classes >= 2 and network.outputs not in valid:
        words = " or ".join(map(str, valid))
        problems.append(Problem(key, f"{network.outputs} outputs for {classes} classes; valid: {words}"))


def _check_start(
    network: NetworkSettings, key: tuple[str | int, ...], kind: str, own_model: bool, problems: list[Problem]
) -> None:
    """A kernel to start from has a scale, a layer to draw and biases to hold its phases; without one, no scale."""
    init = network.init
    if init == "random":
        for name, given in (("init_scale", network.init_scale), ("init_smoothness", network.init_smoothness)):
            if given is not None:
                message = "is of a kernel, and there is none; give init: gaussian, laplacian or matern"
                problems.append(Problem((*key, name), message))
        return
    if own_model:
        problems.append(Problem((*key, "init"), f"method {kind} has a start of its own; valid: random"))
    if network.init_scale is None:
        problems.append(Problem((*key, "init_scale"), f"is missing: the length scale of the {init} kernel"))
    if network.init_smoothness is not None and init != "matern":
        problems.append(Problem((*key, "init_smoothness"), f"is of init: matern, not of {init}"))
    if not network.bias:
        problems.append(Problem((*key, "bias"), f"init: {init} draws biases for its phases; give bias: true"))
    if not network.layers:
        problems.append(Problem((*key, "layers"), f"init: {init} starts the first hidden layer; there is none"))


def _check_convolution(
    network: NetworkSettings,
    data: DataSettings | None,
    key: tuple[str | int, ...],
    kind: str,
    problems: list[Problem],
) -> None:
    """The method trains such layers, and they fit the images of the data."""
    convolution = network.convolution
    if convolution is None:
        return
    if not getattr(methods.load(kind), "convolutions", False):
        able = ", ".join(name for name in methods if getattr(methods.load(name), "convolutions", False))
        message = f"method {kind} trains dense layers only (network: {{convolution: null}}); with these: {able}"
        problems.append(Problem(key, message))
    if network.init != "random":
        message = f"{network.init} draws a dense layer, and the first one is convolutional; valid: random"
        problems.append(Problem((*key[:-1], "init"), message))
    if data is None:
        return
    try:
        image = datasets.load(data.name)().image(data)
    except UserError as error:
        problems.append(Problem(key, str(error)))
        return
    if image is None and convolution.image is None:
        message = f"is missing: {data.name} does not say what its images are; give [channels, height, width]"
        problems.append(Problem((*key, "image"), message))
    shape = image or convolution.image
    if shape is not None:
        channels, height, width = shape
        problems += [Problem((*key, own), text) for own, text in convolution.wrong((channels, height, width))]


def _check_stop(
    stop: Stop, key: tuple[str | int, ...], data: DataSettings | None, problems: list[Problem]
) -> None:
    if stop.patience is not None and data is not None and data.validation is None:
        problems.append(
            Problem((*key, "patience"), "needs a validation split; set data.validation, 0.1 for instance")
        )
    if stop.target is None:
        return
    if stop.metric != "train_loss" and not 0 < stop.target <= 1:
        problems.append(
            Problem(
                (*key, "target"),
                f"an accuracy of {stop.target:g} cannot be reached; valid: above 0, at most 1",
            )
        )
    if stop.metric == "train_loss" and stop.target < 0:
        problems.append(
            Problem((*key, "target"), f"a loss of {stop.target:g} cannot be reached; valid: 0 or more")
        )


def _validate(
    model: type[Any],
    block: Any,
    where: tuple[str | int, ...],
    problems: list[Problem],
    also: Iterable[str] = (),
    shadow: tuple[str | int, ...] | None = None,
) -> Any:
    """Validate ``block``; on failure add every problem and return None.

    ``also`` are keys that are valid beside the model's own. ``shadow`` is where the block comes from when a
    method does not override it: what is wrong there was reported already.
    """
    try:
        return model.model_validate(block)
    except ValidationError as error:
        found = explain(error, model, where, also)
        known = {(p.key, p.message) for p in problems}
        for problem in found:
            inherited = None if shadow is None else (*shadow, *problem.key[len(where) :])
            if (problem.key, problem.message) not in known and (inherited, problem.message) not in known:
                problems.append(problem)
        return None


def to_yaml(document: Mapping[str, Any]) -> str:
    """An experiment as YAML text, keys in their order."""
    return yaml.safe_dump(dict(document), sort_keys=False, default_flow_style=None, width=100)
