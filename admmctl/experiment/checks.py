"""What is wrong with the blocks of an experiment file, beyond keys and types: where it is, and what."""

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from admmctl.data.catalog import datasets
from admmctl.data.dataset import DataSettings
from admmctl.devices.settings import DeviceSettings
from admmctl.errors import UserError
from admmctl.experiment.explain import Problem, explain
from admmctl.experiment.schema import MethodBlock, NetworkSettings, Stop, SweepSettings
from admmctl.experiment.yamlfile import Key
from admmctl.methods.graph.settings import GraphAdmmSettings
from admmctl.methods.method import methods
from admmctl.methods.regularise import RegulariserSettings
from admmctl.methods.taylor.settings import AdmmSettings, TaylorSettings
from admmctl.model.activations import activation as activation_of
from admmctl.model.activations import activations, name_of
from admmctl.model.losses import losses
from admmctl.registry import suggest
from admmctl.settings import Settings


def validate(
    model: type[Any],
    block: Any,
    where: Key,
    problems: list[Problem],
    also: Iterable[str] = (),
    shadow: Key | None = None,
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


CUT = ("relu", "hard-sigmoid", "dcutlu")  # activations whose z-update of ADMM has a closed form

Wrong = list[tuple[str, str]]  # keys below a block and what is wrong there; '' is the block itself


def wrong_name(name: str, known: list[str], supported: tuple[str, ...], kind: str, what: str) -> Wrong:
    """A loss or an activation, ``what``, is ``known``, and the method has it."""
    if name not in known:
        return [("", f"unknown {what} '{name}'{suggest(name, known)}")]
    if name not in supported:
        return [("", f"method {kind} has no {what} '{name}'; it has: {', '.join(supported)}")]
    return []


def wrong_activations(given: str | list[str], supported: tuple[str, ...], kind: str, hidden: int) -> Wrong:
    """All are known to the method, their numbers make sense, and there is one for each of ``hidden`` layers."""
    if isinstance(given, str):
        return _wrong_activation(given, supported, kind)
    wrong = [found for text in dict.fromkeys(given) for found in _wrong_activation(text, supported, kind)]
    if len(given) != hidden:
        either = f"one name or {hidden}" if hidden else "one name"
        wrong.append(("", f"{len(given)} activations for {hidden} hidden layers; give {either}"))
    return wrong


def _wrong_activation(text: str, supported: tuple[str, ...], kind: str) -> Wrong:
    """The name is known to the method, and its numbers make sense: dcutlu(0, 1)."""
    wrong = wrong_name(name_of(text), list(activations), supported, kind, "activation")
    if not wrong:
        try:
            activation_of(text)
        except ValueError as error:
            return [("", str(error))]
    return wrong


def wrong_outputs(network: NetworkSettings, data: DataSettings | None) -> Wrong:
    """As many outputs as classes, or one for two, where the file names its classes."""
    classes = len(data.classes) if data is not None and data.classes else 0
    valid = (1, 2) if classes == 2 else (classes,)
    if network.outputs is None or classes < 2 or network.outputs in valid:
        return []
    return [("outputs", f"{network.outputs} outputs for {classes} classes; valid: {' or '.join(map(str, valid))}")]


def wrong_start(network: NetworkSettings, kind: str, own_model: bool) -> Wrong:
    """A kernel to start from has a scale, a layer to draw and biases to hold its phases; without one, no scale."""
    init, scale, smoothness = network.init, network.init_scale, network.init_smoothness
    if init == "random":
        message = "is of a kernel, and there is none; give init: gaussian, laplacian or matern"
        given = {"init_scale": scale, "init_smoothness": smoothness}
        return [(name, message) for name, value in given.items() if value is not None]
    rules = (
        (own_model, "init", f"method {kind} has a start of its own; valid: random"),
        (scale is None, "init_scale", f"is missing: the length scale of the {init} kernel"),
        (smoothness is not None and init != "matern", "init_smoothness", f"is of init: matern, not of {init}"),
        (not network.bias, "bias", f"init: {init} draws biases for its phases; give bias: true"),
        (not network.layers, "layers", f"init: {init} starts the first hidden layer; there is none"),
    )
    return [(key, message) for broken, key, message in rules if broken]


def wrong_convolution(network: NetworkSettings, data: DataSettings | None, kind: str) -> Wrong:
    """The method trains such layers, and they fit the images of the data."""
    convolution = network.convolution
    if convolution is None:
        return []
    wrong: Wrong = []
    if not methods.load(kind).convolutions:
        able = ", ".join(name for name in methods if methods.load(name).convolutions)
        message = f"method {kind} trains dense layers only (network: {{convolution: null}}); with these: {able}"
        wrong.append(("convolution", message))
    if network.init != "random":
        message = f"{network.init} draws a dense layer, and the first one is convolutional; valid: random"
        wrong.append(("init", message))
    if data is None:
        return wrong
    try:
        image = datasets.load(data.name)().image(data)
    except UserError as error:
        return [*wrong, ("convolution", str(error))]
    if image is None and convolution.image is None:
        message = f"is missing: {data.name} does not say what its images are; give [channels, height, width]"
        wrong.append(("convolution.image", message))
    shape = image or convolution.image
    if shape is not None:
        channels, height, width = shape
        fitting = convolution.wrong((channels, height, width))
        wrong += [(f"convolution.{key}", message) for key, message in fitting]
    return wrong


def wrong_steps(data: DataSettings) -> Wrong:
    """Steps divide the features of a row, where these are known; an order of features is of steps."""
    if data.steps is None:
        message = "is the order in which features enter a recurrent network; give steps, too"
        return [("permute", message)] if data.permute is not None else []
    shape = datasets.load(data.name)().known_shape
    problem = indivisible(data.steps, shape[0]) if shape else ""
    return [("steps", problem)] if problem else []


def indivisible(steps: int, features: int) -> str:
    """What is wrong with so many steps for rows of so many features, or ''."""
    if features % steps == 0:
        return ""
    valid = ", ".join(str(number) for number in range(2, features + 1) if features % number == 0)
    return f"{steps} steps do not divide the {features:,} features of a row; valid: {valid}"


def wrong_recurrence(network: NetworkSettings, data: DataSettings | None, kind: str) -> Wrong:
    """The method trains recurrent networks, the data say in how many steps, and there are no other layers."""
    if network.recurrent is None:
        return []
    able = ", ".join(name for name in methods if methods.load(name).recurrent)
    cure = "(network: {recurrent: null, layers: []})"
    without = f"method {kind} trains no recurrent networks {cure}; with these: {able}"
    rules = (
        (not methods.load(kind).recurrent, "recurrent", without),
        (bool(network.layers), "layers", "a recurrent network has no other hidden layers; leave them out"),
        (network.convolution is not None, "convolution", "a recurrent network has no layers below; leave it out"),
        (isinstance(network.activation, list), "activation", "a recurrent network has one; give a name, no list"),
        (network.init != "random", "init", "a recurrent network starts from no kernel; valid: random"),
        (data is not None and data.steps is None, "recurrent", "reads a row in parts; give data.steps, how many"),
    )
    return [(key, message) for broken, key, message in rules if broken]


def wrong_in_recurrent(network: NetworkSettings, settings: Settings) -> Wrong:
    """Settings of a method that a recurrent network has no use for."""
    if network.recurrent is None:
        return []
    wrong: Wrong = []
    if isinstance(settings, RegulariserSettings) and settings.dropout:
        wrong.append(("dropout", "is of networks that are not recurrent; leave it out"))
    if isinstance(settings, GraphAdmmSettings) and settings.weights_above == "new":
        wrong.append(("weights_above", "steps of a recurrent network share their weights; leave it out"))
    return wrong


def wrong_without_dense_layers(network: NetworkSettings, settings: Settings) -> Wrong:
    """Penalties that are matrices, and a layer-wise start, are of dense layers, each with weights of its own."""
    wrong: Wrong = []
    pretrain = isinstance(settings, AdmmSettings) and settings.pretrain > 0
    if network.convolution is not None or network.recurrent is not None:
        if isinstance(settings, GraphAdmmSettings) and settings.penalties == "matrix":
            wrong.append(("penalties", "matrices are of dense layers; set penalties: automatic"))
        if pretrain:
            wrong.append(("pretrain", "is of dense layers; leave it out"))
    elif pretrain and not network.layers:
        wrong.append(("pretrain", "is of hidden layers, and there is none; leave it out"))
    return wrong


def wrong_regularisers(block: dict[str, Any], kind: str, loss: Any) -> Wrong:
    """The method has mini-batches to regularise, and the loss takes targets that are not 0 or 1."""
    if lacking := _of_other_methods(RegulariserSettings, block, kind):
        return lacking
    known = isinstance(loss, str) and loss in losses
    if not block.get("label_smoothing") or not known or losses.load(loss).soft_targets:
        return []
    soft = [name for name in losses if losses.load(name).soft_targets]
    message = f"loss {loss} takes targets of 0 and 1 alone; with these losses: {', '.join(soft)}"
    return [("label_smoothing", message)]


def wrong_keys_of_devices(block: dict[str, Any], kind: str) -> Wrong:
    """The method has a choice of what computes, where the block makes one."""
    return _of_other_methods(DeviceSettings, block, kind)


def _of_other_methods(settings: type[Settings], block: dict[str, Any], kind: str) -> Wrong:
    """Keys of these settings that a block has and the method has not; only then are other methods loaded."""
    own = methods.load(kind).Settings.model_fields
    wrong: Wrong = []
    for key in (key for key in settings.model_fields if key in block and key not in own):
        able = [name for name in methods if key in methods.load(name).Settings.model_fields]
        wrong.append((key, f"method {kind} has no such key; these have: {', '.join(able)}"))
    return wrong


def wrong_device(network: NetworkSettings, settings: Settings) -> Wrong:
    """What computes is on that device, and computes such layers."""
    if not isinstance(settings, DeviceSettings):
        return []
    wrong = settings.wrong_device()
    if network.convolution is not None and settings.backend != "numpy":
        message = f"{settings.backend} computes no convolutional layers; use backend: numpy"
        wrong.append(("backend", message))
    if isinstance(settings, TaylorSettings) and settings.backend != "numpy":
        given = network.activation if isinstance(network.activation, list) else [network.activation]
        if others := [text for text in dict.fromkeys(given) if name_of(text) not in CUT]:
            message = (
                f"{settings.backend} has no z-update of {', '.join(others)}; it has those of: {', '.join(CUT)}"
            )
            wrong.append(("backend", message))
    return wrong


def wrong_stop(stop: Stop, data: DataSettings | None) -> Wrong:
    """Patience and validation accuracy have a validation split, an AUC two classes; the target can be met."""
    wrong: Wrong = []
    if stop.metric == "test_auc" and data is not None:
        shape = datasets.load(data.name)().known_shape
        classes = len(data.classes) if data.classes else shape[1] if shape else 2
        if classes != 2:
            wrong.append(("metric", f"test_auc is of two classes, and there are {classes}; valid: test_accuracy"))
    unsplit = data is not None and data.validation is None
    for key, given in (("patience", stop.patience is not None), ("metric", stop.metric == "validation_accuracy")):
        if given and unsplit:
            wrong.append((key, "needs a validation split; set data.validation, 0.1 for instance"))
    if stop.target is not None and stop.metric == "train_loss" and stop.target < 0:
        wrong.append(("target", f"a loss of {stop.target:g} cannot be reached; valid: 0 or more"))
    if stop.target is not None and stop.metric != "train_loss" and not 0 < stop.target <= 1:
        what = "AUC" if stop.metric == "test_auc" else "accuracy"
        message = f"an {what} of {stop.target:g} cannot be reached; valid: above 0, at most 1"
        wrong.append(("target", message))
    return wrong


def wrong_sweep(sweep: SweepSettings, known: list[str], settings: dict[str, Settings]) -> list[tuple[Key, str]]:
    """The methods of a search space exist, and so do the keys it varies; ``settings`` by method."""
    wrong: list[tuple[Key, str]] = []
    for method, space in sweep.space.items():
        if method not in known:
            wrong.append(((method,), f"there is no method '{method}'{suggest(method, known)}"))
        if method not in settings:
            continue
        valid = [*type(settings[method]).model_fields, *MethodBlock.model_fields]
        for key, values in space.items():
            if key.partition(".")[0] not in valid:
                wrong.append(((method, key), f"unknown key '{key}'{suggest(key, valid)}"))
            elif isinstance(values, list) and not values:
                wrong.append(((method, key), "no values; give a list of values, or low and high"))
    return wrong
