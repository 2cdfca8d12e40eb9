"""admmctl: train neural networks without gradient descent.

``admmctl.train(config)`` does in Python what ``admmctl train`` does in a shell; ``admmctl.read(folder)`` gives the
runs of a folder as tables of pandas.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "read", "train"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: every MPI rank imports this package and needs none of the driver.
    if name == "train":
        from admmctl.runs.train import train

        return train
    if name == "read":
        from admmctl.report.notebooks import read

        return read
    raise AttributeError(f"module 'admmctl' has no attribute {name!r}")
