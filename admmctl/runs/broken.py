"""Runs that broke: a summary in the place of the one that they could not write."""

import time
from dataclasses import asdict, replace

from admmctl.experiment.config import Run
from admmctl.launch.options import Options
from admmctl.runs import checkpoint
from admmctl.runs.record import RunFolder, rerun_line
from admmctl.runs.recorded import Recorded
from admmctl.runs.summary import Row, Status, Summary, identity, largest


def summary_of_broken_run(
    run: Run, options: Options, folder: RunFolder, status: Status, reason: str, started: float
) -> Row:
    """A summary for a run that could not write its own, from the curve it left; with its folder."""
    recorded = Recorded(folder.path)
    curve = recorded.curve
    last = curve[-1] if curve else {}
    goes_on = status == Status.INTERRUPTED or checkpoint.exist(folder.path)
    summary = Summary(
        **identity(run, options.cores),
        status=status,
        reason=reason,
        time_to_target_s=None,
        iterations=int(last.get("iteration", 0)),
        best_test_accuracy=largest(row["test_accuracy"] for row in curve),
        final_test_accuracy=last.get("test_accuracy"),
        best_test_auc=largest(row.get("test_auc") for row in curve),
        final_test_auc=largest([last.get("test_auc")]),
        train_s=last.get("train_s", 0.0),
        wall_s=max(time.perf_counter() - started, last.get("wall_s", 0.0)),  # of a run that went on, too
        data_made_up=recorded.environment.data_made_up,
        rerun=rerun_line(folder.path, options.cores, None, options.rerun_arguments(), goes_on),
    )
    try:
        folder.write_summary(summary)
    except OSError as error:
        # The disk that broke the run may well refuse this too; the reason is still told.
        summary = replace(summary, reason=f"{reason} (and the summary could not be written: {error.strerror})")
    return {"folder": str(folder.path), **asdict(summary)}
