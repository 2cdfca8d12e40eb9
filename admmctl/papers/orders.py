"""Figures as jobs of a scheduler, each of which makes the runs of a figure and draws it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from admmctl.errors import DataError, MissingData, UserError
from admmctl.papers.make import ENDLESS, Making, chosen, experiment, need_data, planned, without_data
from admmctl.runs.submit import Order


def orders(asked: Sequence[str], making: Making, output: Path | None, dry: bool) -> list[Order]:
    """A job for each of the figures ``asked`` for, of all where none is named, which makes its runs and draws it.

    Illustrations need no job. Of all, those whose data is not here are skipped, unless it is ``dry``. Raises
    UserError, and DataError by name.
    """
    found: list[Order] = []
    missing: dict[str, MissingData] = {}
    for entry in chosen(asked):
        if entry.config is None:
            making.say(f"left out: {entry.name} needs no job; draw it without --launcher sbatch")
            continue
        try:
            if not dry:
                need_data(entry, making.scale)
        except DataError as error:
            if asked:
                raise DataError(f"{entry.name}: {error}") from None
            if isinstance(error, MissingData):
                missing[entry.name] = error
            else:
                making.say(f"skipped: {entry.name}: {error}")
            continue
        plan = entry.plan(making.scale)
        runs = planned(entry, making.scale) or list(experiment(entry, making.scale).runs.values())
        counts = plan.cores if entry.drawing.source == "scaling" else plan.cores[:1]
        most = making.most or ENDLESS
        sized = replace(making.options, cores=max((count for count in counts if count <= most), default=most))
        arguments = [entry.name, "--scale", making.scale, *([] if output is None else ["--output", str(output)])]
        mixed = len({run.method for run in runs}) > 1
        found.append(Order(runs[0], f"figures-{entry.name}", None, "figures", arguments, sized, mixed=mixed))
    if missing:
        making.say(without_data(missing))
    if not found:
        raise UserError("none of these figures is made of runs: draw them without --launcher sbatch")
    return found
