"""The classifiers of scikit-learn, for tests that begin with ``pytest.importorskip("sklearn")``."""

from typing import Any

import pytest
from sklearn.datasets import make_moons

import admmctl.estimators

ALL = [getattr(admmctl.estimators, name) for name in admmctl.estimators.__all__]

each = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)


def moons(rows: int = 200, seed: int = 0) -> tuple[Any, Any]:
    """Two classes that no straight line parts."""
    return make_moons(rows, noise=0.15, random_state=seed)
