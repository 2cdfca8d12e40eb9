"""Search spaces of a sweep: from the ``sweep:`` block to the settings of every trial."""

import math
from itertools import product
from typing import Any

import numpy as np

from admmctl.errors import UserError
from admmctl.experiment.schema import Range, SweepSettings


def at(values: Range, u: float) -> float | int:
    """The value of a range at ``u``, from 0 (low) to 1 (high), to four significant digits."""
    if values.scale == "log":
        value = float(np.exp(np.log(values.low) + u * (np.log(values.high) - np.log(values.low))))
    else:
        value = values.low + u * (values.high - values.low)
    # Rounding must not cross a bound: a momentum of 1 is refused, one of 0.99999 is not.
    short = round(value) if values.integer else float(f"{value:.4g}")
    low, high = (math.ceil(values.low), math.floor(values.high)) if values.integer else (values.low, values.high)
    return min(max(short, low), high)


POINTS = 4  # of a range in a grid, where it does not say how many


def grid(values: Range) -> list[float | int]:
    """The values of a range in a grid, each once."""
    return list(dict.fromkeys(at(values, u) for u in np.linspace(0, 1, values.points or POINTS)))


Settings = dict[str, Any]  # of a trial: key of the method block -> value


def settings_of_trials(settings: SweepSettings, method: str, count: int | None) -> list[Settings]:
    """What every trial of ``method`` sets. Raises UserError for an empty or unknown space."""
    space = settings.space.get(method)
    if not space:
        known = ", ".join(settings.space)
        raise UserError(f"sweep: there is no search space for method {method}; there is one for: {known}")
    for key, values in space.items():
        if isinstance(values, list) and not values:
            raise UserError(f"sweep: {method}.{key} has no values; give a list of values, or low and high")
    if settings.search == "grid":
        axes = [values if isinstance(values, list) else grid(values) for values in space.values()]
        every = [dict(zip(space, point, strict=True)) for point in product(*axes)]
        return every if count is None else every[:count]
    from scipy.stats import qmc  # half a second, which lists of figures and claims need not wait

    points = qmc.Halton(len(space), seed=settings.seed).random(count or settings.trials)
    return [
        {key: _value(values, float(u)) for (key, values), u in zip(space.items(), point, strict=True)}
        for point in points
    ]


def _value(values: list[Any] | Range, u: float) -> Any:
    if isinstance(values, Range):
        return at(values, u)
    return values[min(int(u * len(values)), len(values) - 1)]
