"""A dress rehearsal: SVHN and HIGGS at full size, from files to figures, on made-up data. ``make rehearsal``.

Files in the official formats are made up on the spot, given to ``admmctl fetch --from``, trained on by two ranks,
studied on one core and two, and drawn as Taylor's figures 1a to 2b, as far as a small machine can: one repeat, no
trials, a few iterations. At the end there is a table: seconds, memory and disk of every step. All of it lies in a
folder of its own, which is removed at the end; whatever is recorded there says that its data are made up, and the
last step holds that.

It takes an hour on 2 cores, 16 GB of memory and 15 GB of disk; ``--small`` takes a hundredth of the rows
and a few minutes. What was interrupted goes on by the same command; training on all of HIGGS that is interrupted
writes a checkpoint, 13 GB more.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STATE = "rehearsal.json"  # in the folder: the steps that were made
DISK, MEMORY = 15e9, 16e9  # bytes at full size
LEAST = 1.5e9  # of either, at any size
SMALL = 0.01
ITERATIONS = 20  # of scaling studies, and of training on HIGGS
# What stops the methods of the figures: the most that a small machine has time for.
_FEW, _MORE = "{iterations: 5}", "{iterations: 100}"
BUDGETS = {
    "svhn": {"admm-printed": _MORE, "admm": _MORE, "sgd": "{epochs: 3}", "cg": _MORE, "lbfgs": _MORE},
    "higgs": {"admm-printed": _FEW, "admm": _FEW, "sgd": "{epochs: 1}", "cg": _FEW, "lbfgs": _FEW},
}
FIGURES = ("taylor-1a", "taylor-1b", "taylor-2a", "taylor-2b")
EVERY = 0.25  # seconds between two looks at memory


class Refusal(Exception):
    """Why a rehearsal cannot start; exit code 2."""


@dataclass(frozen=True)
class Step:
    """A command of its own process. What it ``removes`` of the folder is not needed after it."""

    name: str
    command: list[str]
    removes: str = ""


@dataclass
class Measured:
    """What a step took, in all its goes: seconds, the most memory of its processes together, the folder's size."""

    seconds: float = 0.0
    memory_mb: float = 0.0
    disk_mb: float = 0.0
    goes: int = 0
    done: bool = False


def steps(folder: Path, share: float) -> list[Step]:
    """All of them, in their order."""
    admmctl = [sys.executable, "-m", "admmctl"]
    make = [sys.executable, str(ROOT / "scripts" / "made_up_data.py"), "--share", str(share)]
    this = [sys.executable, str(Path(__file__).resolve())]
    files = folder / "files"
    more = ["--oversubscribe"] if _cores() < 2 else []
    study = ["--method", "admm", "--iterations", str(ITERATIONS), "--cores", "1,2", "--repeat", "1", *more]

    def train(iterations: int) -> list[str]:
        stop = f"methods.admm.stop={{iterations: {iterations}}}"
        return ["--method", "admm", "--cores", "2", "--resume", "--set", stop, *more]

    svhn, higgs = (str(ROOT / "configs" / f"{name}.yaml") for name in ("svhn", "higgs"))
    return [
        Step("make SVHN's files", [*make, "svhn", str(files / "svhn")]),
        Step("fetch SVHN", [*admmctl, "fetch", "svhn", "--extra", "--from", str(files / "svhn")], "files/svhn"),
        Step("make HIGGS.csv.gz", [*make, "higgs", str(files)]),
        Step("fetch HIGGS", [*admmctl, "fetch", "higgs", "--from", str(files / "HIGGS.csv.gz")], "files"),
        Step("train on SVHN, 2 ranks", [*admmctl, "train", svhn, *train(100)]),
        Step("train on HIGGS, 2 ranks", [*admmctl, "train", higgs, *train(ITERATIONS)]),
        Step("scaling of SVHN, 1 and 2 cores", [*admmctl, "scaling", svhn, *study]),
        Step("scaling of HIGGS, 1 and 2 cores", [*admmctl, "scaling", higgs, *study]),
        *(Step(f"figure {name}", [*this, "--draw", name]) for name in FIGURES),
        Step("check that all is marked", [*this, "--check"]),
    ]


def changes(config: str, methods: Iterable[str]) -> list[str]:
    """What stops these methods in the figures, as changes of the experiment."""
    return [f"methods.{method}.stop={BUDGETS[config][method]}" for method in methods]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- the figures, and the marks: processes of their own


def draw(name: str) -> None:
    """Make the missing runs of a figure and draw it, as ``admmctl figures --scale full`` does, but for less of it.

    Raises RunFailed.
    """
    from admmctl.errors import RunFailed
    from admmctl.launch.options import check_options
    from admmctl.papers.catalogue import CATALOGUE
    from admmctl.papers.draw import make_folder
    from admmctl.papers.entry import Material
    from admmctl.papers.make import Making, Outcome, draw_all
    from admmctl.report.live import Live, error_console

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    entry = CATALOGUE[name]
    config = str(entry.config)
    methods = tuple(method for method in entry.methods if method in BUDGETS[config])
    less: dict[str, Any] = {
        "methods": methods,
        "alone": (),
        "changes": (*entry.changes, *changes(config, methods)),
        "cores": (1, 2) if entry.drawing.source == "scaling" else (2,),
        "repeats": 1,
        "trials": 1,
        "batches": entry.batches[1:2],
        "differs": f"{entry.differs}; a rehearsal, with one repeat, no trials and a few iterations",
    }
    outcome = Outcome([Material(replace(entry, **less), "full")])
    options = check_options(1)
    draw_all(outcome, Making("full", options, Live(error_console()), say, made_up=True), make_folder(None))
    if outcome.failed or not outcome.drawn:
        raise RunFailed("\n".join([*outcome.failed.values(), *outcome.skipped.values()]))


def unmarked(datasets: Path, results: Path) -> Iterator[str]:
    """What does not say that its data are made up, and every verdict on a claim, line by line."""
    from admmctl.papers.claims import Verdict
    from admmctl.papers.told import chosen, judged

    found = 0
    for pattern, key in (("summary.json", "data_made_up"), ("environment.json", "data_made_up")):
        for path in results.rglob(pattern):
            found += 1
            if json.loads(path.read_text()).get(key) is not True:
                yield str(path)
    for path in datasets.glob("*/manifest.json"):
        found += 1
        if json.loads(path.read_text()).get("made_up") is not True:
            yield str(path)
    for path in (results / "figures").glob("*.json"):
        found += 1
        figure = json.loads(path.read_text())
        if "made-up data" not in figure["caption"] or figure["numbers"]:
            yield str(path)
    for claim in judged(chosen([])):
        found += 1
        told = claim.verdict != Verdict.UNTOLD and claim.rerun  # others need no runs
        if told or claim.runs:
            yield f"the claim {claim.id} {claim.verdict}, of {len(claim.runs)} runs"
    print(f"{found:,} records and claims looked at")


# --- measuring a step


class Watch:
    """Looks, in a thread, at the memory of a process and of all that it started, and at the size of a folder."""

    def __init__(self, process: int, folder: Path) -> None:
        self.memory = self.disk = 0
        self._process, self._folder = process, folder
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        turn = 0
        while not self._end.wait(EVERY):
            self.memory = max(self.memory, _memory(self._process))
            turn += 1
            if turn % 20 == 0:
                self.disk = max(self.disk, size(self._folder))

    def stop(self) -> None:
        self._end.set()
        self._thread.join()
        self.disk = max(self.disk, size(self._folder))


def _memory(process: int) -> int:
    """Bytes that a process and its descendants hold, without pages of files; 0 where the system does not say."""
    parents: dict[int, int] = {}
    held: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            number = int(status.parent.name)
            parents[number] = int(lines["PPid"])
            held[number] = sum(1024 * int(lines[key].split()[0]) for key in ("RssAnon", "RssShmem"))
        except (OSError, KeyError, ValueError):  # it has ended
            continue
    total, family = 0, [process]
    while family:
        one = family.pop()
        total += held.get(one, 0)
        family += [child for child, parent in parents.items() if parent == one]
    return total


def size(folder: Path) -> int:
    """Bytes of a folder on disk; what goes meanwhile does not count."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += 512 * Path(place, name).lstat().st_blocks
            except OSError:
                continue
    return total


def run(step: Step, folder: Path, measured: Measured) -> int:
    """One go of a step; its exit code. Every signal is handed on, and its end is waited for."""
    places = {"ADMMCTL_DATASETS": str(folder / "datasets"), "ADMMCTL_RESULTS": str(folder / "results")}
    start = time.perf_counter()
    # In a session of its own: a terminal's Ctrl-C comes to it once, from here.
    process = subprocess.Popen(step.command, cwd=ROOT, env=os.environ | places, start_new_session=True)
    watch = Watch(process.pid, folder)
    interrupted = False
    try:
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:
                process.terminate()  # in the background SIGINT may be ignored
                interrupted = True
        if interrupted:
            raise KeyboardInterrupt
        return code
    finally:
        watch.stop()
        measured.seconds += time.perf_counter() - start
        measured.memory_mb = max(measured.memory_mb, watch.memory / 2**20)
        measured.disk_mb = max(measured.disk_mb, watch.disk / 2**20)
        measured.goes += 1


# --- the rehearsal


def read(folder: Path, share: float) -> dict[str, Measured]:
    """The steps of a rehearsal that was begun there. Raises Refusal where something else is in the folder."""
    try:
        found = json.loads((folder / STATE).read_text())
        before, made = found["share"], {name: Measured(**values) for name, values in found["steps"].items()}
    except FileNotFoundError:
        if folder.is_dir() and any(folder.iterdir()):
            raise Refusal(f"{folder} is not empty, and no rehearsal made it; name another one: --folder") from None
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal(f"{folder / STATE} cannot be read ({error!r}); remove {folder}") from None
    if before != share:
        raise Refusal(f"{folder} holds a rehearsal with {before:g} of the rows, not {share:g}; remove it")
    return made


def write(folder: Path, share: float, made: dict[str, Measured]) -> None:
    part = folder / f".{STATE}.part"
    part.write_text(json.dumps({"share": share, "steps": {name: asdict(one) for name, one in made.items()}}))
    part.replace(folder / STATE)


def check_room(folder: Path, share: float) -> None:
    """Raises Refusal where disk or memory are too small. What is in the folder already counts as free."""
    from admmctl.runs.memory import available

    place = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(place).free + size(folder)
    if free < (need := max(LEAST, share * DISK)):
        raise Refusal(f"{folder}: {need / 1e9:.1f} GB of disk are needed, and {free / 1e9:.1f} GB are free there")
    memory = available()
    if memory is not None and memory < (need := max(LEAST, share * MEMORY)):
        raise Refusal(f"{need / 1e9:.1f} GB of memory are needed, and {memory / 1e9:.1f} GB are free")


def rehearse(folder: Path, share: float) -> dict[str, Measured]:
    """Make the steps that are missing. Raises Refusal, and SystemExit for a step that fails."""
    made = read(folder, share)
    check_room(folder, share)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, share, made)
    planned = steps(folder, share)
    for number, step in enumerate(planned, start=1):
        measured = made.setdefault(step.name, Measured())
        if measured.done:
            continue
        print(f"== {number} of {len(planned)}: {step.name}", flush=True)
        try:
            code = run(step, folder, measured)
            measured.done = code == 0
        finally:
            write(folder, share, made)
        if code:
            print(f"error: {step.name} failed with exit code {code}; the same command goes on from here")
            raise SystemExit(1)
        if step.removes:
            shutil.rmtree(folder / step.removes)
    return made


def table(made: dict[str, Measured]) -> str:
    """Seconds, memory and disk of every step, in Markdown; and the way from a file to a trained network."""
    lines = ["| step | seconds | memory, at most | disk, at most |", "|---|---|---|---|"]
    for name, one in made.items():
        goes = f" (in {one.goes} goes)" if one.goes > 1 else ""
        lines.append(f"| {name}{goes} | {one.seconds:,.0f} | {_size(one.memory_mb)} | {_size(one.disk_mb)} |")
    total = sum(one.seconds for one in made.values())
    memory, disk = (max(getattr(one, key) for one in made.values()) for key in ("memory_mb", "disk_mb"))
    lines.append(f"| all | {total:,.0f} | {_size(memory)} | {_size(disk)} |")
    way = [made["fetch HIGGS"], made["train on HIGGS, 2 ranks"]]
    minutes, most = sum(one.seconds for one in way) / 60, max(one.memory_mb for one in way)
    lines += ["", f"HIGGS from the file to a trained network: {minutes:.1f} minutes, {_size(most)} of memory."]
    return "\n".join(lines)


def _size(mebibytes: float) -> str:
    return f"{mebibytes * 2**20 / 1e9:.2f} GB"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="a hundredth of the rows")
    parser.add_argument("--share", type=float, help="of the rows; 1 by default")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    parser.add_argument("--folder", type=Path, default=Path("rehearsal"), help="where everything lies meanwhile")
    parser.add_argument("--draw", metavar="FIGURE", help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.draw:
        return _reported(draw, asked.draw)
    if asked.check:
        missing = list(unmarked(*(Path(os.environ[f"ADMMCTL_{name}"]) for name in ("DATASETS", "RESULTS"))))
        print("\n".join(f"not marked as made up: {line}" for line in missing), end="\n" * bool(missing))
        return int(bool(missing))
    share = asked.share or (SMALL if asked.small else 1.0)
    folder = asked.folder.absolute()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        made = rehearse(folder, share)
    except Refusal as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 3
    print(table(made))
    if not asked.keep:
        shutil.rmtree(folder)
    return 0


def _reported(work: Any, argument: str) -> int:
    """The exit code of some work, whose error is one message."""
    from admmctl.errors import AdmmctlError

    try:
        work(argument)
    except AdmmctlError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
