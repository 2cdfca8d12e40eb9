"""Prepares HIGGS in a new process for every order on standard input; some of them are killed on the way.

An order is a line of JSON, the answer a line with the exit status of its process. The modules are loaded once:
a process is a fork of this one. Keys of an order:

    file, rows, force   what to fetch
    pause               seconds to rest after each piece of rows
    kill_after          kill -9 the process so many seconds after its start
    chunk               how many rows are a piece
    die_after           kill -9 itself after the n-th piece of rows
    noted               a file that takes how many rows were there after each piece, line by line
    die_at              kill -9 itself before its n-th change of anything in the datasets folder
    said                a file that takes what it says, line by line
    wait_for            a file: rest after the first piece of rows until this has something in it
    read                do not fetch, but load rows as training does; any change in the datasets folder is fatal
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pandas  # noqa: F401  (here, and not in every fork)

from admmctl.comm import Serial
from admmctl.data import higgs, shards
from admmctl.data.dataset import DataSettings, root
from admmctl.data.fetch import Request, fetch

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.link", "os.symlink"}


def changes(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an event is the start of a change in the datasets folder (opening to write is one)."""
    if event == "open":
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            return False
    elif event not in CHANGES:
        return False
    path = arguments[0]
    # With a folder's descriptor, as rmtree has it, the path is a bare name.
    return not isinstance(path, str | Path) or not Path(path).is_absolute() or Path(path).is_relative_to(root())


def obey(order: dict[str, Any]) -> None:
    higgs._CHUNK = order.get("chunk", 20)
    count = pieces = 0

    def die(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if changes(event, arguments):
            count += 1
            if order.get("read") or count == order.get("die_at"):
                os.kill(os.getpid(), signal.SIGKILL)

    def say(text: str) -> None:
        if "said" in order:
            with Path(order["said"]).open("a") as file:
                file.write(text + "\n")

    def progress(what: str, done: int, total: int) -> None:
        nonlocal pieces
        if what.startswith("preparing"):
            pieces += 1
            if "noted" in order:
                with Path(order["noted"]).open("a") as file:
                    file.write(f"{done}\n")
            if pieces == order.get("die_after"):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(order.get("pause", 0))
            other, tries = order.get("wait_for"), 400
            while other and tries and not (Path(other).exists() and Path(other).read_text()):
                time.sleep(0.05)
                tries -= 1

    if "die_at" in order or "read" in order:
        sys.addaudithook(die)
    if "read" in order:
        shards.load(shards.plan(DataSettings(name="higgs"), 1), Serial())
    else:
        request = Request(files=[Path(order["file"])], rows=order.get("rows"), force=order.get("force", False))
        fetch("higgs", request, say, progress)


def start(order: dict[str, Any]) -> int:
    process = os.fork()
    if process == 0:
        try:
            obey(order)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return process


def main() -> None:
    for line in sys.stdin:
        orders = json.loads(line)
        processes = [start(order) for order in orders]
        for order, process in zip(orders, processes, strict=True):
            if "kill_after" in order:
                time.sleep(order["kill_after"])
                os.kill(process, signal.SIGKILL)  # not waited for yet: the number is still its own
        statuses = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
        print(json.dumps(statuses), flush=True)


if __name__ == "__main__":
    main()
