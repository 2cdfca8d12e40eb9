"""Runs that broke: what the end of a job means, and a summary in the place of the one it could not write."""

import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from admmctl.config import Run
from admmctl.errors import Interrupted, RunFailed, UserError
from admmctl.parallel import launch, watchdog
from admmctl.parallel.programs import between_rules
from admmctl.runs import checkpoint
from admmctl.runs.record import RunFolder, read_curve, read_summary, rerun_line
from admmctl.runs.worker import SUMMARY, identity


def raise_on_failure(end: launch.JobEnd, folder: Path, ranks: int) -> None:
    """Turn the end of a job into the error it stands for."""
    for error in end.errors:
        if error["user"]:
            raise UserError(error["message"])
    finished = read_summary(folder) is not None
    if end.exit_code == 0 and finished:
        return
    if end.stuck:
        raise RunFailed(watchdog.verdict(end.stuck, ranks))
    if end.stopped_by is not None:
        raise Interrupted("stopped before the iteration ended")
    if end.errors:
        first = end.errors[0]
        raise RunFailed(f"rank {first['rank']}: {first['message']}")
    silent = "a rank ended before the run did" if end.exit_code == 0 else "no message"
    last = next((line.strip() for line in reversed(end.said) if line.strip(" =")), silent)
    told = _killed(end.said) or _unreachable(end.said) or between_rules("\n".join(end.said)) or last
    raise RunFailed(f"the job ended with exit code {end.exit_code}: {told}")


def _killed(said: list[str]) -> str | None:
    """What MPICH's launcher, Open MPI's or srun says of a rank that was killed: how, which one, its host."""
    text = "\n".join(said)
    by_prte = re.search(r"process rank (\d+) with PID (\d+) on\s+node (\S+)\s+exited\s+on\s+(signal [^.]+)", text)
    if by_prte is not None:
        return f"a rank ended: {by_prte[4]}, rank {by_prte[1]}, process {by_prte[2]} on {by_prte[3]}"
    by_srun = re.search(r"srun: error: (\S+): tasks? ([\d,-]+): (.+)", text)
    if by_srun is not None:
        return f"a rank ended: {by_srun[3].strip()}, rank {by_srun[2]} on {by_srun[1]}"
    how = re.search(r"EXIT STRING: (.+)", text)
    where = re.search(r"PID (\d+) RUNNING AT (\S+)", text)
    if how is None:
        return None
    return f"a rank ended: {how[1].strip()}" + (f", process {where[1]} on {where[2]}" if where else "")


def _unreachable(said: list[str]) -> str | None:
    """What launchers say of a host that they cannot reach, or that cannot reach them."""
    signs = ("unable to connect", "ssh: ", "Host key verification failed", "Permission denied")
    line = next((line.strip() for line in said if any(sign in line for sign in signs)), None)
    if line is None:
        return None
    return (
        f"{line}\nEvery host of --hosts has to be reachable by ssh without a password, and this one from there; "
        "with several networks, name the interface in the launch block of the cluster's file"
    )


def summary_of_the_dead(
    run: Run, ranks: int, words: Sequence[str], folder: RunFolder, status: str, reason: str, started: float
) -> dict[str, Any]:
    """A summary for a run that could not write its own, from the curve it left."""
    curve = read_curve(folder.path)
    last = curve[-1] if curve else {}
    accuracies = [row["test_accuracy"] for row in curve if not math.isnan(row["test_accuracy"])]
    known = {
        **identity(run, ranks),
        "status": status,
        "reason": reason,
        "iterations": int(last.get("iteration", 0)),
        "best_test_accuracy": max(accuracies, default=None),
        "final_test_accuracy": last.get("test_accuracy"),
        "train_s": last.get("train_s", 0.0),
        "wall_s": max(time.perf_counter() - started, last.get("wall_s", 0.0)),  # of a run that went on, too
        "rerun": rerun_line(
            folder.path,
            ranks,
            None,
            words,
            status == "interrupted" or checkpoint.exist(folder.path),
        ),
    }
    summary = {key: known.get(key) for key in SUMMARY}
    try:
        folder.write_summary(summary)
    except OSError as error:
        # The disk that broke the run may well refuse this too; the reason is still told.
        summary["reason"] = f"{reason} (and the summary could not be written: {error.strerror})"
    return {"folder": str(folder.path), **summary}
