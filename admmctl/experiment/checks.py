"""What is wrong with the blocks of an experiment file, beyond keys and types: checks that collect problems."""

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from admmctl.data.catalog import datasets
from admmctl.data.dataset import DataSettings
from admmctl.errors import UserError
from admmctl.experiment.explain import Problem, explain
from admmctl.experiment.schema import MethodBlock, NetworkSettings, Stop, SweepSettings
from admmctl.methods.method import methods
from admmctl.model.activations import activation as activation_of
from admmctl.model.activations import activations, name_of
from admmctl.registry import suggest
from admmctl.settings import Settings


def validate(
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


def check_name(
    name: str,
    known: list[str],
    supported: tuple[str, ...],
    key: tuple[str | int, ...],
    kind: str,
    what: str,
    problems: list[Problem],
) -> None:
    """``what``, a loss for instance, is ``known``, and the method has it."""
    if name not in known:
        problems.append(Problem(key, f"unknown {what} '{name}'{suggest(name, known)}"))
    elif name not in supported:
        problems.append(Problem(key, f"method {kind} has no {what} '{name}'; it has: {', '.join(supported)}"))


def check_activation(
    text: str, supported: tuple[str, ...], key: tuple[str | int, ...], kind: str, problems: list[Problem]
) -> None:
    """The name is known to the method, and its numbers make sense: dcutlu(0, 1)."""
    before = len(problems)
    check_name(name_of(text), list(activations), supported, key, kind, "activation", problems)
    if len(problems) == before:
        try:
            activation_of(text)
        except ValueError as wrong:
            problems.append(Problem(key, str(wrong)))


def check_outputs(
    network: NetworkSettings, data: DataSettings | None, key: tuple[str | int, ...], problems: list[Problem]
) -> None:
    """As many outputs as classes, or one for two, where the file names its classes."""
    classes = len(data.classes) if data is not None and data.classes else None
    if network.outputs is None or classes is None:
        return
    valid = (1, 2) if classes == 2 else (classes,)
    if classes >= 2 and network.outputs not in valid:
        words = " or ".join(map(str, valid))
        problems.append(Problem(key, f"{network.outputs} outputs for {classes} classes; valid: {words}"))


def check_start(
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


def check_convolution(
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
    if not methods.load(kind).convolutions:
        able = ", ".join(name for name in methods if methods.load(name).convolutions)
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


def check_stop(stop: Stop, key: tuple[str | int, ...], data: DataSettings | None, problems: list[Problem]) -> None:
    """Patience has a validation split to watch, and the target can be met."""
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


def check_sweep(
    sweep: SweepSettings, known: list[str], settings: dict[str, Settings], problems: list[Problem]
) -> None:
    """The methods of a search space exist, and so do the keys it varies; ``settings`` by method."""
    for method, space in sweep.space.items():
        where = ("sweep", "space", method)
        if method not in known:
            problems.append(Problem(where, f"there is no method '{method}'{suggest(method, known)}"))
        if method not in settings:
            continue
        valid = [*type(settings[method]).model_fields, *MethodBlock.model_fields]
        for key, values in space.items():
            if key.partition(".")[0] not in valid:
                problems.append(Problem((*where, key), f"unknown key '{key}'{suggest(key, valid)}"))
            elif isinstance(values, list) and not values:
                problems.append(Problem((*where, key), "no values; give a list of values, or low and high"))
