"""The commands: parse, call, print. No logic lives here. Each module has the commands of one subject."""

# In the order of --help, not of the alphabet.
# isort: off
from admmctl.cli import configs, new, data, train, scaling, machine, figures, claims, report, runs  # noqa: F401

# isort: on
from admmctl.cli.app import main

__all__ = ["main"]
