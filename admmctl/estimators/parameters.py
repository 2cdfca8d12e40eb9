"""From what a user gives a classifier to a network and a method: all checks are those of an experiment file."""

from typing import Any, Literal

import numpy as np

from admmctl.errors import UserError
from admmctl.experiment import checks
from admmctl.experiment.explain import Problem as Wrong
from admmctl.methods.method import Method, methods, trainer
from admmctl.model.losses import losses
from admmctl.model.network import Network
from admmctl.settings import Count, Fraction, Settings


class Parameters(Settings):
    """Types and bounds of the parameters that all of them have."""

    scale: Literal["standard", "centred", "unit", "none"]
    early_stopping: bool
    validation_fraction: Fraction
    n_iter_no_change: Count
    warm_start: bool
    settings: dict[str, Any] | None


def plain(value: Any) -> Any:
    """Numbers and lists of Python in the place of NumPy's, and lists in that of tuples; so within a dict."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


def check(model: type[Settings], given: dict[str, Any], where: tuple[str, ...] = ()) -> Any:
    """``given`` as a ``model``. Raises UserError, which names every problem, and where it is."""
    problems: list[Wrong] = []
    found = checks.validate(model, {key: plain(value) for key, value in given.items()}, where, problems)
    if problems:
        raise UserError(_listed(problems))
    return found


def made_method(kind: str, given: dict[str, Any], loss: str, network: Network) -> Method:
    """The method with these settings. Raises UserError where it has them not, or they do not fit the network."""
    method = methods.load(kind)
    problems = [
        Wrong(("loss",), text) for _, text in checks.wrong_name(loss, list(losses), method.losses, kind, "loss")
    ]
    regularisers = [] if problems else checks.wrong_regularisers(given, kind, loss)
    problems += [Wrong(("settings", key), text) for key, text in regularisers]
    if problems:
        raise UserError(_listed(problems))
    settings: Settings = check(method.Settings, given, ("settings",))
    wrong = method.check(settings, network.layers)
    if wrong:
        raise UserError(_listed([Wrong(("settings", key), text) for key, text in wrong]))
    method.require(settings)
    return trainer(kind, settings, loss)


def layered(features: int, layers: Any, outputs: int, activation: str, kind: str) -> Network:
    """A network of dense ``layers``, one or several. Raises UserError for an activation that the method lacks."""
    given = plain(layers)
    sizes = given if isinstance(given, list) else [given]
    wrong = checks.wrong_activations(activation, methods.load(kind).activations, kind, len(sizes))
    if wrong:
        raise UserError(_listed([Wrong(("activation",), text) for _, text in wrong]))
    return Network.build(features, sizes, outputs, activation, True)


def _listed(problems: list[Wrong]) -> str:
    return "; ".join(f"{'.'.join(map(str, filter(None, p.key)))}: {p.message}" for p in problems)
