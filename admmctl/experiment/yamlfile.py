"""YAML with line numbers: what an error message needs to point at the place."""

import copy
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from admmctl.errors import ConfigError, UserError
from admmctl.experiment import bundled

Key = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-3 is a number, as in YAML 1.2 (PyYAML's 1.1 wants 1.0e-3)."""


class _Dumper(yaml.SafeDumper):
    """What it writes, the loader reads: the word '1e3' is in quotes."""


for _either in (_Loader, _Dumper):
    _either.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
        list("-+0123456789."),
    )


_QUOTED = re.compile(r""" "[^"]+" | '[^']+' """, re.VERBOSE)
_DOT = re.compile(r"""\.(?=(?:[^"']|"[^"]*"|'[^']*')*$)""")  # that stands in no quotes


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


EXPERIMENT = "an experiment is a mapping with the keys name, data, network, loss, methods"


def read(path: Path, what: str = EXPERIMENT) -> Document:
    """Parse a YAML file whose top level is a mapping; ``what`` says so where it is not.

    Raises ConfigError with the line of what is wrong.
    """
    hint = bundled.hint(path) if what == EXPERIMENT and not path.is_file() else ""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file{hint}{_nearby(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}{hint}") from None
    try:
        content, lines, wrong = _parsed(text)
    except _NotYaml as problem:
        raise ConfigError(f"{path}{problem.place}: not valid YAML: {problem}") from None
    if wrong:
        raise ConfigError("\n".join(f"{path}:{place}" for place in wrong))
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: {what}")
    return Document(copy.deepcopy(content), dict(lines), str(path))


@lru_cache(maxsize=64)
def _parsed(text: str) -> tuple[Any, dict[Key, int], list[str]]:
    """What ``_construct`` makes of a whole file. The claims of a report read a few files dozens of times."""
    lines: dict[Key, int] = {}
    wrong: list[str] = []
    return _construct(text, lines, wrong), lines, wrong


def split_key(text: str) -> list[str]:
    """The key of a ``--set`` by its dots. A name in quotes may hold some: methods."relu-0.005".rho."""
    parts = [part.strip() for part in _DOT.split(text)]
    return [part[1:-1] if _QUOTED.fullmatch(part) else part for part in parts if part]


def parse_value(text: str, override: str) -> Any:
    """The YAML value of a ``--set``. Raises UserError."""
    wrong: list[str] = []
    try:
        value = _construct(text, {}, wrong, tuple(override.partition("=")[0].split(".")))
    except _NotYaml as problem:
        raise UserError(f"--set {_one_line(override)}: the value is not valid YAML: {problem}") from None
    if wrong:
        problem_alone = wrong[0].partition(": ")[2]  # there is one line
        raise UserError(f"--set {_one_line(override)}: {problem_alone}")
    return value


def dump(content: dict[str, Any]) -> str:
    """YAML text that ``read`` reads back as it was, keys in their order."""
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=100)
    return text


class _NotYaml(Exception):
    """What is wrong with a text, in one line; ``place`` is ':line' where that is known."""

    def __init__(self, what: object, line: int | None = None) -> None:
        super().__init__(_one_line(str(what)))
        self.place = "" if line is None else f":{line}"


def _construct(text: str, lines: dict[Key, int], wrong: list[str], key: Key = ()) -> Any:
    """The content of a YAML text below ``key``, the line of every key, 'line: what is wrong'. Raises _NotYaml."""
    loader = None
    try:
        loader = _Loader(text)  # looks at the characters already
        node = loader.get_single_node()
        if node is None:
            return None
        _collect_lines(node, key, lines, wrong)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _NotYaml(error.problem or error.context, mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        raise _NotYaml(error) from None
    except RecursionError:
        raise _NotYaml("nested too deeply") from None
    except (ValueError, TypeError) as error:  # a date or a number that is none
        raise _NotYaml(error) from None
    finally:
        if loader is not None:
            loader.dispose()


_MOST_KEYS = 100_000  # aliases of aliases grow beyond any memory


def _one_line(text: str, most: int = 200) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}..."


# Numbers that YAML 1.1 takes for others than a reader does: 010 for 8, 1:30 for 90.
_MISREAD = re.compile(r"[-+]?0[0-9_]+|[^:]+:.*")
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def _collect_lines(node: yaml.Node, key: Key, lines: dict[Key, int], wrong: list[str]) -> None:
    if len(lines) > _MOST_KEYS:
        raise _NotYaml(f"more than {_MOST_KEYS:,} values; an experiment has a few dozen")
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _NotYaml("a key must be a word", key_node.start_mark.line + 1)
            child = (*key, key_node.value)
            line = key_node.start_mark.line + 1
            if child in lines:
                wrong.append(f"{line}: {_dotted(child)} is given twice, first in line {lines[child]}")
            lines[child] = line
            _check_number(key_node, child, wrong)
            _collect_lines(value_node, child, lines, wrong)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            lines[(*key, position)] = item.start_mark.line + 1
            _collect_lines(item, (*key, position), lines, wrong)
    elif isinstance(node, yaml.ScalarNode):
        _check_number(node, key, wrong)


def _check_number(node: yaml.ScalarNode, key: Key, wrong: list[str]) -> None:
    """Add what is wrong with a value at ``key``, or with its last word, that is a number."""
    if node.tag in _NUMBERS and _MISREAD.fullmatch(node.value):
        value = _Loader("").construct_object(node)
        wrong.append(
            f"{node.start_mark.line + 1}: {_dotted(key)}: {node.value} would be read as {value}; write the number "
            f"without zeros before it or colons in it, or in quotes where it is a word"
        )


def _dotted(key: Key) -> str:
    return ".".join(map(str, key))


def _nearby(path: Path) -> str:
    """'; there is: a, b' with the experiment files that do exist in the folder."""
    try:
        found = sorted(str(other) for other in path.parent.glob("[!.]*.yaml"))
    except OSError:
        found = []
    return f"; there is: {', '.join(found[:8])}" if found else ""
