"""Classifiers for scikit-learn: the methods of ``admmctl.methods`` on arrays, without an experiment file.

They need the extra ``sklearn``: nothing else of this package imports scikit-learn but ``trees``.
``docs/estimators.md`` says what each of them is for.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as _error:
    raise ImportError(
        f"admmctl.estimators needs scikit-learn, which cannot be loaded ({_error}): pip install 'admmctl[sklearn]'"
    ) from _error

from admmctl.estimators.closed import ConvexReluClassifier, RandomFeaturesClassifier
from admmctl.estimators.networks import AdmmClassifier, GraphAdmmClassifier

__all__ = ["AdmmClassifier", "ConvexReluClassifier", "GraphAdmmClassifier", "RandomFeaturesClassifier"]
