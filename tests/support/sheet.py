"""A small experiment file that tests change."""

from pathlib import Path

import pytest

from admmctl.experiment.config import ConfigError, Experiment, Run, load

TEXT = """\
name: tiny
data: {name: swissroll, rows: 400}
network: {layers: [6, 4], activation: relu, bias: true}
loss: squared
methods:
  admm: {beta: 1.0, gamma: 10.0}
  other: {kind: admm, gamma: 5.0}
stop: {target: 0.9, iterations: 3}
evaluate: {every: 2, unit: iteration}
seed: 7
"""


class Sheet:
    """An experiment file that a test changes before it is read."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tiny.yaml"
        self.path.write_text(TEXT)

    def change(self, old: str, new: str) -> "Sheet":
        text = self.path.read_text()
        assert text.count(old) == 1, f"{old!r} must stand exactly once in the file"
        self.path.write_text(text.replace(old, new))
        return self

    def load(self, *overrides: str) -> Experiment:
        return load(self.path, overrides)

    def run(self, *overrides: str) -> Run:
        """That of the method admm."""
        return self.load(*overrides).runs["admm"]

    def refusal(self, *overrides: str) -> list[str]:
        """The lines of the message with which the file is refused, without the folder."""
        with pytest.raises(ConfigError) as caught:
            self.load(*overrides)
        assert caught.value.exit_code == 2
        return str(caught.value).replace(f"{self.path.parent}/", "").splitlines()
