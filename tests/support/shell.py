"""The command ``admmctl``, in the process of the test and as one of its own."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from admmctl.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"


TINY = """\
name: tiny
data: {name: swissroll, rows: 120}
network: {layers: [5, 4]}
loss: squared
methods:
  admm: {}
  hinged: {kind: admm, loss: hinge}
stop: {iterations: 3, target: 0.9999}
"""


@dataclass
class Answer:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Runs ``admmctl`` in this process, in a folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Answer:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = self._capsys.readouterr()
        code = end.value.code
        assert code is None or isinstance(code, int)
        assert "Traceback" not in captured.out + captured.err
        return Answer(code or 0, captured.out, captured.err)

    def refusal(self, *arguments: object) -> str:
        """The message with which a command is refused: exit code 2, and nothing on standard output."""
        answer = self(*arguments)
        assert answer.code == 2, answer.err
        assert answer.out == ""
        return answer.err


def on_80_columns(table: RenderableType) -> str:
    """What a terminal of 80 columns shows of a table, which fits it."""
    console = Console(width=80, no_color=True, markup=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    assert max(map(len, captured.get().splitlines())) <= 80
    return captured.get()


def real_shell(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """``admmctl`` as a process of its own."""
    command = [sys.executable, "-m", "admmctl.cli", *map(str, arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen(command, **options)
