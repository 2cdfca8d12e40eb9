"""From pydantic's errors to lines that a person can act on."""

from collections.abc import Iterable
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from admmctl.experiment.yamlfile import Document, Key
from admmctl.registry import suggest


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an experiment: at which key, and what."""

    key: Key
    message: str


def report(document: Document, problems: list[Problem]) -> str:
    """All problems, one a line, in the order of the file: place, key, message."""
    lines = []
    for problem in sorted(problems, key=lambda p: document.lines.get(p.key, 1 << 30)):
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem.key)
        line = f"{document.place(problem.key)}: {key.lstrip('.')}: {problem.message}"
        if line not in lines:
            lines.append(line)
    return "\n".join(lines)


def explain(error: ValidationError, model: type[BaseModel], where: Key, also: Iterable[str]) -> list[Problem]:
    """Every problem in ``error``, which came from validating a block at ``where`` by ``model``."""
    by_key: dict[Key, list[str]] = {}
    for item in error.errors(include_url=False):
        location, owner = _locate(item["loc"], model)
        key = (*where, *location)
        if item["type"] == "extra_forbidden":
            valid = [*owner.model_fields, *(also if owner is model else ())]
            message = f"unknown key '{location[-1]}'{suggest(str(location[-1]), valid)}"
        elif item["type"] == "missing":
            message = "is missing"
        else:
            message = _expected(item)
            # What a block's own check says names the value that is wrong; the whole block would hide it.
            if not (item["type"] == "value_error" and isinstance(item["input"], dict)):
                message += f", got {_short(item['input'])}"
        by_key.setdefault(key, []).append(message)
    # [1, x] fails as a number and, at its second item, as a list: the item says it all.
    whole = {key[:depth] for key in by_key for depth in range(len(where) + 1, len(key))}
    return [Problem(key, _join(messages)) for key, messages in by_key.items() if key not in whole]


def _locate(location: tuple[str | int, ...], model: type[BaseModel]) -> tuple[Key, type[BaseModel]]:
    """The part of a pydantic location that names keys of the file, and the model that owns the last one.

    Pydantic names the branch of a union that failed as well ('list[any]', 'Range'): those are left out.
    """
    key: list[str | int] = []
    owner, options = model, [cast(Any, model)]
    for place, part in enumerate(location):
        models = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
        owner = models[0] if models else owner
        inner = [found for option in options for found in _inside(option, part)]
        if inner:
            options = inner
        elif not (models and place == len(location) - 1):
            branch = str(part)
            options = [option for option in options if getattr(option, "__name__", "") in branch] or options
            continue
        key.append(part)
    return tuple(key), owner


def _inside(option: Any, part: str | int) -> list[Any]:
    """The types that ``part`` may have inside a type: of a model's field, a mapping's value, a list's item."""
    if isinstance(option, type) and issubclass(option, BaseModel):
        field = option.model_fields.get(part) if isinstance(part, str) else None
        return _branches(field.annotation) if field is not None else []
    if get_origin(option) is dict:
        return _branches(get_args(option)[1])
    if get_origin(option) is list and isinstance(part, int):
        return _branches(get_args(option)[0])
    return []


def _branches(annotation: Any) -> list[Any]:
    """The members of a union, or the type itself."""
    if get_origin(annotation) in (Union, UnionType):
        return [branch for member in get_args(annotation) for branch in _branches(member)]
    return [get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation]


def _expected(item: Any) -> str:
    """What was expected, in plain words."""
    context = item.get("ctx", {})
    texts = {
        "greater_than": "expected a number above {gt}",
        "greater_than_equal": "expected {ge} or more",
        "less_than": "expected a number below {lt}",
        "less_than_equal": "expected {le} or less",
        "literal_error": "expected {expected}",
        "too_short": "expected at least {min_length} item(s)",
        "string_pattern_mismatch": "expected letters, digits, '.', '_' and '-', starting with a letter or digit",
        "string_type": "expected a word",
        "int_type": "expected a whole number",
        "int_from_float": "expected a whole number",
        "float_type": "expected a number",
        "finite_number": "expected a finite number",
        "bool_type": "expected true or false",
        "list_type": "expected a list",
        "dict_type": "expected a block with keys",
        "model_type": "expected a block with keys",
    }
    template = texts.get(item["type"])
    return template.format(**context) if template else str(item["msg"]).removeprefix("Value error, ")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _join(messages: list[str]) -> str:
    """The branches of a union failed each in its way: 'expected A or B, got X'."""
    unique = list(dict.fromkeys(messages))
    if len(unique) == 1:
        return unique[0]
    got = unique[-1].rpartition(", got ")[2]
    expected = [message.rpartition(", got ")[0].removeprefix("expected ") for message in unique]
    return f"expected {' or '.join(e for e in expected if e)}, got {got}"
