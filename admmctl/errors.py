"""Errors that users meet. Each has one clear message: what is wrong, where, what is valid, and the cure."""

from typing import Any


class AdmmctlError(Exception):
    """An error with a message for people; the command prints it without a traceback."""

    exit_code = 1
    quiet = False  # another process prints the same message


class UserError(AdmmctlError):
    """Wrong usage, configuration or data: nothing was run, nothing was written."""

    exit_code = 2


class ConfigError(UserError):
    """One or more problems in an experiment file, all of them in the message."""


class DataError(UserError):
    """A dataset is missing, damaged, or not what the experiment asks for."""


class MissingData(DataError):
    """A dataset is not here. ``fetch`` are the arguments of the ``admmctl fetch`` that brings it."""

    def __init__(self, message: str, fetch: tuple[str, ...]) -> None:
        super().__init__(message)
        self.fetch = fetch


class SeveralDrivers(UserError):
    """A launcher started this command several times; all of the processes but one are ``quiet``."""

    def __init__(self, message: str, quiet: bool) -> None:
        super().__init__(message)
        self.quiet = quiet


class MissingExtra(UserError):
    """A method needs a package, or a device, that is not here."""


class RunStopped(AdmmctlError):
    """A run started and did not finish. ``runs`` are the summaries of all runs of the command so far."""

    def __init__(self, message: str, runs: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.runs = runs or []


class RunFailed(RunStopped):
    """A run broke: its folder says why."""


class Interrupted(RunStopped):
    """The user or the system asked a run to stop."""

    exit_code = 3
