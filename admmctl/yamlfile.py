"""YAML with line numbers: what an error message needs to point at the place."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from admmctl.errors import ConfigError, UserError

Key = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-3 is a number, as in YAML 1.2 (PyYAML's 1.1 wants 1.0e-3)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


@dataclass
class Document:
    """A parsed file: its content, and the line of every key. ``name`` is what messages call it."""

    content: dict[str, Any]
    lines: dict[Key, int]
    name: str
    overrides: dict[Key, str] = field(default_factory=dict)

    def mark_override(self, key: Key, override: str) -> None:
        """Remember that ``key`` came from the command line, and all below it with it."""
        self.lines = {k: line for k, line in self.lines.items() if k[: len(key)] != key or k == key}
        self.overrides[key] = override

    def place(self, key: Key) -> str:
        """Where ``key`` stands: 'file:line', or the ``--set`` that made it. A missing key: its block."""
        for depth in range(len(key), -1, -1):
            part = key[:depth]
            if part in self.overrides:
                override = self.overrides[part]
                # An override that put a key into a file's block: name the block's line as well.
                line = next(
                    (self.lines[part[:d]] for d in range(depth - 1, 0, -1) if part[:d] in self.lines), None
                )
                return f"--set {override}" + (f" ({self.name}:{line})" if line else "")
            if part in self.lines:
                return f"{self.name}:{self.lines[part]}"
        return self.name


def read(path: Path) -> Document:
    """Parse a YAML file whose top level is a mapping. Raises ConfigError with the line of what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file{_nearby(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    lines: dict[Key, int] = {}
    repeated: list[str] = []
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is not None:
            _collect_lines(node, (), lines, repeated)
        content = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid YAML: nested too deeply") from None
    finally:
        loader.dispose()
    if repeated:
        raise ConfigError("\n".join(f"{path}:{place}" for place in repeated))
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: an experiment is a mapping with the keys name, data, network, loss, methods")
    return Document(content, lines, str(path))


def parse_value(text: str, override: str) -> Any:
    """The YAML value of a ``--set``. Raises UserError."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: the value is not valid YAML: {error}") from None


def _collect_lines(node: yaml.Node, key: Key, lines: dict[Key, int], repeated: list[str]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            child = (*key, key_node.value)
            line = key_node.start_mark.line + 1
            if child in lines:
                repeated.append(
                    f"{line}: {'.'.join(map(str, child))} is given twice, first in line {lines[child]}"
                )
            lines[child] = line
            _collect_lines(value_node, child, lines, repeated)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            lines[(*key, position)] = item.start_mark.line + 1
            _collect_lines(item, (*key, position), lines, repeated)


def _nearby(path: Path) -> str:
    """'; there is: a, b' with the experiment files that do exist in the folder."""
    try:
        found = sorted(str(other) for other in path.parent.glob("*.yaml"))
    except OSError:
        found = []
    return f"; there is: {', '.join(found[:8])}" if found else ""
