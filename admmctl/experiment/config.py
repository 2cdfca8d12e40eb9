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
from admmctl.experiment import checks
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
from admmctl.experiment.yamlfile import Document, Key, dump, parse_value, read, split_key
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
        document: dict[str, Any] = {
            "name": self.experiment,
            "data": _given(self.data),
            "network": _given(self.network),
            "loss": self.loss,
            "methods": {self.method: {"kind": self.kind, **self.settings.plain()}},
            "stop": _given(self.stop),
            "evaluate": self.evaluate.plain(),
            "seed": self.seed,
        }
        if self.threads is not None:
            document["threads"] = self.threads
        if self.checkpoint != CheckpointSettings():
            document["checkpoint"] = _given(self.checkpoint)
        return document

    def yaml(self) -> str:
        """``document`` as the text of a file."""
        return dump(self.document())

    def hash(self) -> str:
        """Eight hexadecimal digits over data, network, loss, method and seed; not stop, ranks or paths."""
        document = self.document()
        identity = {key: document[key] for key in ("data", "network", "loss", "methods", "seed")}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]


def _given(block: Settings) -> dict[str, Any]:
    """A block without the keys that are null."""
    return {key: value for key, value in block.plain().items() if value is not None}


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
    checker = _Checker(document.content)
    experiment = checker.experiment(path)
    if experiment is None:
        raise ConfigError(report(document, checker.problems))
    return experiment


def _override(document: Document, override: str) -> None:
    """Apply one ``--set key=value``; the value is YAML, and a mapping replaces the whole block."""
    key, equals, text = override.partition("=")
    keys = split_key(key)
    if not equals or not keys:
        raise UserError(f"--set {override}: expected key=value, for instance methods.admm.beta=1")
    for name in map(str, _block(document.content, "methods")):
        parts = ["methods", *name.split(".")]
        if len(parts) > 2 and keys[: len(parts)] == parts:
            quoted = ".".join(["methods", f'"{name}"', *keys[len(parts) :]])
            raise UserError(f"--set {override}: a name with a dot stands in quotes: --set '{quoted}={text}'")
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


class _Checker:
    """From an experiment's content to its runs; what is wrong on the way is collected in ``problems``."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.problems: list[Problem] = []
        self._content = content
        self._file: File | None = checks.validate(File, content, (), self.problems)
        self._data = self._checked_data()

    def experiment(self, path: Path | None) -> Experiment | None:
        """The experiment, or None where something is wrong."""
        runs: dict[str, Run] = {}
        blocks, file = self._content.get("methods"), self._file
        for name, block in blocks.items() if isinstance(blocks, dict) else ():
            if block is None or isinstance(block, dict):
                run = self._run(str(name), block or {})
                if run is not None:
                    runs[run.method] = run
        if file is not None and file.sweep is not None:
            settings = {name: run.settings for name, run in runs.items()}
            for key, message in checks.wrong_sweep(file.sweep, list(file.methods), settings):
                self._note(("sweep", "space", *key), message)
        return None if file is None or self.problems else Experiment(file.name, runs, path, file.sweep)

    def _note(self, key: Key, message: str) -> None:
        self.problems.append(Problem(key, message))

    def _note_all(self, where: Key, wrong: checks.Wrong) -> None:
        """What is wrong below ``where``."""
        for key, message in wrong:
            self._note((*where, *filter(None, key.split("."))), message)

    def _checked_data(self) -> DataSettings | None:
        block = self._content.get("data")
        if not isinstance(block, dict):
            return None  # the file's own check says so
        name = block.get("name")
        if not isinstance(name, str):
            self._note(("data", "name"), f"a dataset's name is needed; valid: {', '.join(datasets)}")
            return None
        if name not in datasets:
            self._note(("data", "name"), f"unknown dataset '{name}'{suggest(name, list(datasets))}")
            return None
        block = dict(block)
        if self._file is not None and self._file.validation is not None:
            block.setdefault("validation", self._file.validation)
        if isinstance(block.get("test"), int) and not isinstance(block["test"], bool):
            block["test"] = float(block["test"])
        model = datasets.load(name).Settings
        settings: DataSettings | None = checks.validate(model, block, ("data",), self.problems)
        if settings and settings.classes and len(settings.classes) == 1:
            self._note(("data", "classes"), "at least two classes are needed to tell apart")
        if settings and settings.classes and len(set(settings.classes)) < len(settings.classes):
            self._note(("data", "classes"), "a class is named twice")
        if settings:
            self._note_all(("data",), checks.wrong_steps(settings))
        return settings

    def _run(self, name: str, block: dict[str, Any]) -> Run | None:
        """One method's run, or None where something is wrong with it or with the file."""
        where, content, file, data = ("methods", name), self._content, self._file, self._data
        if not re.fullmatch(NAME, name) or len(name) > MAX_NAME:
            self._note(where, f"a method's name becomes a folder: {NAME_IN_WORDS}")
        kind = block.get("kind", name)
        if not isinstance(kind, str) or kind not in methods:
            key = (*where, "kind") if "kind" in block else where
            self._note(key, f"unknown method '{kind}'{suggest(str(kind), list(methods))}")
            return None
        method = methods.load(kind)
        preset = block.get("preset")
        if preset is not None and (not isinstance(preset, str) or preset not in method.presets):
            valid = ", ".join(method.presets) or f"{kind} has none"
            self._note((*where, "preset"), f"unknown preset '{preset}'; valid: {valid}")
            return None
        merged = {**_on_top(method.presets[preset] if preset else {}, block), "kind": kind}
        common_keys = set(MethodBlock.model_fields) - set(method.Settings.model_fields)
        given = {key: value for key, value in merged.items() if key in common_keys}
        # What is wrong there is noted, and the search goes on.
        common = checks.validate(MethodBlock, given, where, self.problems) or MethodBlock(kind=kind)
        loss = common.loss if common.loss is not None else content.get("loss")
        own = {key: value for key, value in merged.items() if key not in common_keys}
        wrong = checks.wrong_regularisers(own, kind, loss) + checks.wrong_keys_of_devices(own, kind)
        self._note_all(where, wrong)
        own = {key: value for key, value in own.items() if key not in dict(wrong)}
        settings = checks.validate(method.Settings, own, where, self.problems, also=common_keys)

        # A block of the method on top of the experiment's; what is wrong stands where it was written.
        def resolved(model: type[Any], key: str, merged: dict[str, Any]) -> Any:
            return checks.validate(model, merged, (*where, key), self.problems, shadow=(key,))

        network_block = {**_block(content, "network"), **(common.network or {})}
        if common.bias is not None:
            network_block["bias"] = common.bias
        unit = method.unit if settings is None else method.unit_of(settings)
        evaluate_block = {"unit": unit, **_block(content, "evaluate"), **(common.evaluate or {})}
        network: NetworkSettings | None = resolved(NetworkSettings, "network", network_block)
        stop: Stop | None = resolved(Stop, "stop", _merge_stop(content, common.stop))
        evaluate: Evaluate | None = resolved(Evaluate, "evaluate", evaluate_block)
        network_key = (*where, "network") if common.network else ("network",)
        if isinstance(loss, str):
            loss_key = (*where, "loss") if common.loss else ("loss",)
            self._note_all(loss_key, checks.wrong_name(loss, list(losses), method.losses, kind, "loss"))
        hidden = 0 if network is None else network.matrices - 1
        activation = network_block.get("activation", "relu")
        if network is not None or isinstance(activation, str):
            wrong = checks.wrong_activations(activation, method.activations, kind, hidden)
            self._note_all((*network_key, "activation"), wrong)
        if network is not None:
            self._note_all(network_key, checks.wrong_outputs(network, data))
            self._note_all(network_key, checks.wrong_start(network, kind, bool(method.own_model)))
            self._note_all(network_key, checks.wrong_convolution(network, data, kind))
            self._note_all(network_key, checks.wrong_recurrence(network, data, kind))
        if stop is not None:
            self._note_all((*where, "stop") if common.stop else ("stop",), checks.wrong_stop(stop, data))
        if network is not None and settings is not None:
            self._note_all(where, method.check(settings, network.matrices))
            self._note_all(where, checks.wrong_in_recurrent(network, settings))
            self._note_all(where, checks.wrong_without_dense_layers(network, settings))
            self._note_all(where, checks.wrong_device(network, settings))
        if file is None or data is None or settings is None or not isinstance(loss, str):
            return None
        if network is None or stop is None or evaluate is None:
            return None
        threads = common.threads if common.threads is not None else file.threads
        blocks = data, network, loss, settings, stop, evaluate
        return Run(file.name, name, kind, *blocks, file.seed, threads, file.checkpoint)


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
