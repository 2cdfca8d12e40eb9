"""Runs that broke: what the end of a job means, and a summary in the place of the one it could not write."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from admmctl.errors import Interrupted, RunFailed, UserError
from admmctl.experiment.config import Run
from admmctl.launch import watchdog
from admmctl.launch.job import JobEnd
from admmctl.launch.said import last_words
from admmctl.runs import checkpoint
from admmctl.runs.record import RunFolder, rerun_line
from admmctl.runs.recorded import Recorded
from admmctl.runs.summary import Status, Summary, identity


def raise_on_failure(end: JobEnd, folder: Path, ranks: int) -> None:
    """Turn the end of a job into the error it stands for."""
    for error in end.errors:
        if error["user"]:
            raise UserError(error["message"])
    finished = Recorded(folder).summary is not None
    if finished and (end.exit_code == 0 or end.stopped_by is not None):
        return  # whoever stops a job that has written its summary, the last of its files, comes too late
    if end.stuck:
        raise RunFailed(watchdog.verdict(end.stuck, ranks))
    if end.stopped_by is not None:
        raise Interrupted("stopped before the iteration ended")
    if end.start is not None:
        raise RunFailed(end.start)
    if end.errors:
        first = end.errors[0]
        raise RunFailed(f"rank {first['rank']}: {first['message']}")
    silent = "a rank ended before the run did" if end.exit_code == 0 else "no message"
    raise RunFailed(f"the job ended with exit code {end.exit_code}: {last_words(end.said) or silent}")


def summary_of_the_dead(
    run: Run, ranks: int, words: Sequence[str], folder: RunFolder, status: Status, reason: str, started: float
) -> dict[str, Any]:
    """A summary for a run that could not write its own, from the curve it left; with its folder."""
    curve = Recorded(folder.path).curve
    last = curve[-1] if curve else {}
    accuracies = [row["test_accuracy"] for row in curve if not math.isnan(row["test_accuracy"])]
    goes_on = status == Status.INTERRUPTED or checkpoint.exist(folder.path)
    summary = Summary(
        **identity(run, ranks),
        status=status,
        reason=reason,
        time_to_target_s=None,
        iterations=int(last.get("iteration", 0)),
        best_test_accuracy=max(accuracies, default=None),
        final_test_accuracy=last.get("test_accuracy"),
        train_s=last.get("train_s", 0.0),
        wall_s=max(time.perf_counter() - started, last.get("wall_s", 0.0)),  # of a run that went on, too
        rerun=rerun_line(folder.path, ranks, None, words, goes_on),
    )
    try:
        folder.write_summary(summary)
    except OSError as error:
        # The disk that broke the run may well refuse this too; the reason is still told.
        summary = replace(summary, reason=f"{reason} (and the summary could not be written: {error.strerror})")
    return {"folder": str(folder.path), **asdict(summary)}
