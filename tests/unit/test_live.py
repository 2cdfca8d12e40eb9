"""What is shown while a run goes on: the view on a terminal, plain lines elsewhere."""

import io
import math
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.experiments import swissroll

from admmctl.experiment import config
from admmctl.report import live
from admmctl.report.board import PLAIN_BLOCKS, Board, joined, sparkline
from admmctl.report.live import Live
from admmctl.report.text import duration

TINY = swissroll("tiny", 120, (5, 4))


def run(**stop: Any) -> config.Run:
    (found,) = config.load({**TINY, "stop": stop}).select(None)
    return found


def evaluation(iteration: int = 5, accuracy: float = 0.9, **changes: Any) -> dict[str, Any]:
    row = {
        "iteration": iteration,
        "epoch": float(iteration),
        "train_s": 0.5 * iteration,
        "wall_s": 1.0 * iteration,
        "train_loss": 1.0 - accuracy,
        "train_accuracy": accuracy - 0.1,
        "test_accuracy": accuracy,
    }
    return {"event": "evaluation", "row": row, "phases": {}, "memory_mb": None, **changes}


PLANNED = {"event": "planned", "ranks": 2, "memory_mb": 300.0, "checkpoints": True}


def board_of(*events: dict[str, Any], **stop: Any) -> Board:
    """What is shown of a run after these events."""
    board = Board(run(**stop))
    for event in events:
        board.event(event)
    return board


def shown(board: Board, width: int = 120, plain: bool = False) -> list[str]:
    return [line for line, _ in board.lines(width, plain)]


def line_with(board: Board, text: str, width: int = 120) -> str:
    (line,) = (line for line in shown(board, width) if text in line)
    return line


# --- the parts of lines


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, "▁▂▃▄▅▆▇█"),  # from the lowest to the highest
        ([7, 0], 8, "█▁"),
        ([9, 9, 9, 0, 1], 2, "▁█"),  # the last that there is room for
        ([1, 2], 0, ""),
        ([1, 2], -3, ""),
        ([], 5, ""),
        ([0, math.nan, 1, math.inf], 9, "▁ █ "),  # without what is no number
        ([math.nan], 9, " "),
    ],
)
def test_a_sparkline(values: list[float], width: int, line: str) -> None:
    assert sparkline(values, width) == line


def test_a_plain_sparkline_has_blocks_of_its_own() -> None:
    assert sparkline([0, 7], 8, PLAIN_BLOCKS) == f"{PLAIN_BLOCKS[0]}{PLAIN_BLOCKS[-1]}"


def test_what_hardly_moves_looks_so() -> None:
    assert set(sparkline([0.98, 0.9801, 0.98], 9, least=0.01)) <= set("▄▅")
    assert len(set(sparkline([0.5, 0.5], 9))) == 1


def test_parts_are_joined_as_far_as_they_fit() -> None:
    assert joined(["one", "two", "three"], 8) == "one  two"
    assert joined(["one", "two", "three"], 80) == "one  two  three"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (1e7, "2,777 h 46 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# --- the board


@pytest.mark.parametrize("width", [20, 40, 59, 79, 119])
@pytest.mark.parametrize("plain", [False, True])
def test_no_line_is_longer_than_the_terminal_is_wide(width: int, plain: bool) -> None:
    board = Board(replace(run(target=0.99, iterations=100), experiment="e" * 100))
    events = [PLANNED, {"event": "loaded", "rows_train": 10_500_000, "rows_test": 1}]
    phases = dict.fromkeys(("product", "solve", "reduce", "elementwise", "gram", "load"), 1.0)
    events += [evaluation(i, 0.5 + i / 300, phases=phases, memory_mb=250.0) for i in range(100)]
    for event in events:
        board.event(event)
        lines = shown(board, width, plain)
        assert max(map(len, lines)) <= width
        assert not plain or all(line.isascii() for line in lines)
    assert len(lines) == 8


def test_before_the_first_evaluation_it_says_that_it_loads() -> None:
    board = board_of(iterations=3)
    assert shown(board)[0] == "tiny  admm  seed 0"
    assert "loading  0 s" in shown(board)
    board.event(PLANNED)
    board.event({"event": "loaded", "rows_train": 9000, "rows_test": 1000})
    assert shown(board)[0] == "tiny  admm  seed 0  2 ranks  9,000 training rows"
    assert "memory: about 300 MB per rank expected" in shown(board)


@pytest.mark.parametrize(
    ("stop", "text", "share"),
    [
        ({"iterations": 20}, "5 of 20 iterations", 10),
        ({"epochs": 10, "iterations": 20}, "5 of 10 epochs", 20),
        ({"seconds": 4, "iterations": 20}, "2.5 of 4 s of training", 25),
        ({"iterations": 0}, "5 of 0 iterations", 40),
    ],
)
def test_the_bar_shows_the_limit_that_is_nearest(stop: dict[str, Any], text: str, share: int) -> None:
    line = line_with(board_of(evaluation(5), **stop), " of ")
    assert line == "█" * share + "░" * (40 - share) + f"  {text}"


def test_the_time_to_go_is_that_of_the_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    board = board_of(iterations=100)
    for number in range(6):
        now = 103.0 + number
        board.event(evaluation(10 * number))
    assert "time: 8 s, at most 5 s to go" in shown(board)


def test_a_run_that_goes_on_does_not_count_what_was_done_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    board = board_of(evaluation(80), iterations=100)
    assert "time: 0 s" in shown(board)
    now = 10.0
    board.event(evaluation(90))
    assert "time: 10 s, at most 10 s to go" in shown(board)


def test_the_target_is_told_with_the_best_so_far() -> None:
    before = [evaluation(number, accuracy) for number, accuracy in enumerate([0.5, 0.93, 0.9, math.nan])]
    board = board_of(*before, target=0.95, iterations=100)
    assert line_with(board, "target") == "target 0.95: not yet, best 0.9300 after 0.5 s"
    board.event(evaluation(7, 0.96))
    assert line_with(board, "target") == "target 0.95: reached after 3.5 s"


def test_a_loss_falls_to_its_target() -> None:
    before = [evaluation(number, accuracy) for number, accuracy in enumerate([0.5, 0.8, 0.7])]
    board = board_of(*before, metric="train_loss", target=0.1, iterations=100)
    assert line_with(board, "target") == "target train loss 0.1: not yet, best 0.2 after 0.5 s"
    board.event(evaluation(4, 0.95))
    assert line_with(board, "target") == "target train loss 0.1: reached after 2.0 s"


def test_without_a_target_there_is_still_a_best() -> None:
    assert "no target: best 0.7500 after 1.0 s" in shown(board_of(evaluation(2, 0.75), iterations=100))


def test_phases_are_shares_of_training_the_largest_first() -> None:
    phases = {"load": 9.0, "solve": 2.0, "reduce": 5.0, "product": 2.98, "gram": 0.02, "evaluate": 4.0}
    board = board_of(evaluation(20, phases=phases), iterations=100)
    assert "training 10.0 s: communication 50 %, product 30 %, solve 20 %" in shown(board)
    assert "training 10.0 s: communication 50 %, other 50 %" in shown(board, 50)
    board.event(evaluation(20, phases={}))
    assert "training 10.0 s" in shown(board)


def test_memory_is_what_is_held_and_what_was_expected() -> None:
    board = board_of({**PLANNED, "ranks": 1}, evaluation(memory_mb=250.4), iterations=100)
    assert "memory: 250 MB, about 300 MB expected" in shown(board)
    board.event(PLANNED)
    assert "memory: 250 MB on rank 0, about 300 MB per rank expected" in shown(board)


def test_what_ctrl_c_will_do_and_what_it_has_done() -> None:
    board = board_of(iterations=100)
    assert shown(board)[-1] == "Ctrl-C: stop after this iteration; twice: at once"
    board.event(PLANNED)
    assert shown(board)[-1] == "Ctrl-C: stop after this iteration, with a checkpoint; twice: at once"
    assert shown(board, 50)[-1] == "Ctrl-C: stop with a checkpoint; twice: at once"
    board.event({"event": "stopping"})
    assert shown(board)[-1] == "stopping after this iteration, with a checkpoint; Ctrl-C again: at once"


# --- on a terminal, and elsewhere


def screen() -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=True, force_interactive=True)


@contextmanager
def watched(console: Console) -> Iterator[Live]:
    """A view of a run that has started."""
    with Live(console) as view:
        view.started(run(iterations=3, target=0.99), Path("results/tiny/x"))
        yield view


def written(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


SUMMARY = {
    "status": "exhausted",
    "reason": "used up: 3 iterations",
    "target": 0.99,
    "metric": "test_accuracy",
    "best_test_accuracy": 0.9,
}


def test_elsewhere_there_are_plain_lines() -> None:
    console = Console(file=io.StringIO(), width=80)
    with watched(console) as view:
        view.event({**PLANNED, "ranks": 1})
        view.event({"event": "loaded", "rows_train": 9000, "rows_test": 1000})
        view.event(evaluation(3, 0.9, phases={"solve": 1.0}, memory_mb=200.0))
        view.event({"event": "note", "text": "[bold]a note"})
        view.event({"event": "stopping"})  # of the handler of a signal: not to be shown
        view.event({"event": "stopping", "text": "stopping soon"})
        view.event({"event": "finished", "status": "exhausted"})
        view.ended(SUMMARY)
        view.ended({**SUMMARY, "metric": "train_loss"})
    assert written(console) == (
        "results/tiny/x\n"
        "about 300 MB of memory\n"
        "9,000 training rows, 1,000 test rows\n"
        "iteration     3  train 1.500 s  loss 0.1  test accuracy 0.9000  train accuracy 0.8000\n"
        "[bold]a note\n"
        "stopping soon\n"
        "exhausted: used up: 3 iterations\n"
        "the target, test_accuracy 0.99, was missed: best test accuracy 0.9000\n"
        "exhausted: used up: 3 iterations\n"
        "the target, train_loss 0.99, was missed\n"
    )


def iterations_shown(numbers: range, **stop: Any) -> list[int]:
    """Of a run that is evaluated at these iterations and then ends: those that have a plain line."""
    console = Console(file=io.StringIO(), width=80)
    with Live(console) as view:
        view.started(run(**stop), Path("results/tiny/x"))
        for number in numbers:
            view.event(evaluation(number))
        view.ended(SUMMARY)
    text = written(console)
    assert text.rindex("iteration ") < text.index("exhausted: ")  # the last is there before the end is
    return [int(number) for number in re.findall(r"^iteration +(\d+)", text, re.M)]


def test_of_few_evaluations_each_has_a_plain_line() -> None:
    assert iterations_shown(range(51), iterations=50) == list(range(51))
    assert iterations_shown(range(0, 1001, 20), iterations=1000) == list(range(0, 1001, 20))
    assert iterations_shown(range(5), epochs=5) == list(range(5))


def test_of_many_evaluations_some_have_plain_lines_over_the_whole_run() -> None:
    assert iterations_shown(range(401), iterations=400) == list(range(0, 401, 20))
    assert iterations_shown(range(401), iterations=10**6, epochs=400) == list(range(0, 401, 20))
    assert iterations_shown(range(401), seconds=200) == list(range(0, 401, 20))


def test_the_evaluation_that_a_run_ends_with_has_a_plain_line() -> None:
    assert iterations_shown(range(38), iterations=400, target=0.5) == [0, 20, 37]
    assert iterations_shown(range(2), iterations=10**6, target=0.5) == [0, 1]


def test_a_run_that_goes_on_has_lines_for_the_few_that_are_left() -> None:
    assert iterations_shown(range(380, 401), iterations=400) == list(range(380, 401))
    assert iterations_shown(range(200, 401), iterations=400) == list(range(200, 401, 20))


HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def test_the_view_goes_when_the_run_ends_and_leaves_its_result() -> None:
    console = screen()
    with Live(console) as view:
        for _ in range(2):  # as with --method all
            view.started(run(iterations=3, target=0.99), Path("results/tiny/x"))
            view.event(PLANNED)
            view.event({"event": "note", "text": "a note"})
            view.ended(SUMMARY)
    text = written(console)
    assert text.count(HIDE) == text.count(SHOW) == 2
    assert "Ctrl-C: stop" in text
    assert text.rindex("a note") < text.rindex("Ctrl-C: stop") < text.rindex(SHOW) < text.rindex("exhausted: ")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_breaks_the_cursor_comes_back(error: type[BaseException]) -> None:
    console = screen()
    with suppress(error), watched(console):
        raise error
    text = written(console)
    assert text.count(HIDE) == text.count(SHOW) == 1
    assert text.rindex(HIDE) < text.rindex(SHOW)


def test_a_terminal_that_is_gone_is_no_error_at_the_end() -> None:
    console = screen()
    with watched(console):
        console.file.close()


def drawings(console: Console) -> int:
    return written(console).count("tiny  admm")


def test_many_evaluations_are_drawn_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TICK_PAUSE", 60.0)
    monkeypatch.setattr(live, "EVENT_PAUSE", 30.0)
    console = screen()
    with watched(console) as view:
        before = drawings(console)
        for number in range(500):
            view.event(evaluation(number))
        assert drawings(console) - before <= 1


def test_the_clock_goes_on_while_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TICK_PAUSE", 0.01)
    console = screen()
    with watched(console) as view:
        view.event({"event": "stopping"})  # noted by a signal's handler, drawn by the thread
        until = time.monotonic() + 10
        while "stopping after this iteration" not in written(console) and time.monotonic() < until:
            time.sleep(0.01)
    assert "stopping after this iteration" in written(console)


def test_without_colours_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = screen()
    with watched(console) as view:
        view.event(evaluation())
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", written(console))


# --- a real terminal


def on_a_terminal(
    folder: Path,
    *arguments: str,
    when: str = "",
    then: Callable[[subprocess.Popen[bytes]], None] | None = None,
    **environment: str,
) -> tuple[int, str]:
    """``admmctl`` on a pseudo-terminal of 80 columns: its exit code, and all that it drew."""
    master, slave = pty.openpty()
    names = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm", "ADMMCTL_RESULTS": str(folder / "results")}
    unset = ("NO_COLOR", "FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE")
    env = {key: value for key, value in os.environ.items() if key not in unset} | names | environment
    command = [sys.executable, "-m", "admmctl", *arguments]
    process = subprocess.Popen(command, env=env, stdin=slave, stdout=slave, stderr=slave, close_fds=True)
    os.close(slave)
    seen, until = "", time.monotonic() + 60
    while time.monotonic() < until:
        if select.select([master], [], [], 0.1)[0]:
            try:
                seen += os.read(master, 65536).decode(errors="replace")
            except OSError:  # the other side is closed
                break
        if then is not None and when in seen:
            then(process)
            then = None
    os.close(master)
    return process.wait(timeout=20), seen


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    import yaml

    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**TINY, "stop": {"iterations": 3}}))
    return str(tmp_path / "tiny.yaml")


def test_ctrl_c_on_a_terminal_is_told_and_leaves_it_sane(tmp_path: Path, tiny: str) -> None:
    code, seen = on_a_terminal(
        tmp_path, "train", tiny, "--set", "stop={iterations: 100000000}", "--set", "evaluate.every=100000",
        when=" iterations", then=lambda process: process.send_signal(2),
    )  # fmt: skip
    assert code == 3
    assert "Ctrl-C: stop after this iteration, with a checkpoint; twice: at once" in seen
    assert seen.count(HIDE) == seen.count(SHOW) == 1
    assert "interrupted: asked to stop" in seen[seen.index(SHOW) :]
    assert "Traceback" not in seen


def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path, tiny: str) -> None:
    code, seen = on_a_terminal(tmp_path, "train", tiny, TERM="dumb")
    assert code == 0
    assert seen.count("train accuracy") == 4
    assert "Ctrl-C" not in seen
    assert HIDE not in seen
