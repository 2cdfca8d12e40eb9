"""``train --dry-run``: what would run, and what would stop it."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from admmctl.errors import UserError
from admmctl.experiment.config import Run
from admmctl.experiment.yamlfile import dump
from admmctl.launch.options import Options
from admmctl.runs.places import root
from admmctl.runs.resume import folder_name
from admmctl.runs.train import Request, check_kind, check_rows, command_of


@dataclass(frozen=True)
class PlannedRun:
    """What ``--dry-run`` says of a run. ``command`` is None for one in this process.

    ``stopped_by`` is what the run would be refused for, here and now.
    """

    folder: str
    ranks: int
    threads_per_rank: int | str
    command: list[str] | None
    config: dict[str, Any]
    stopped_by: list[str]

    def __str__(self) -> str:
        command = "in this process" if self.command is None else shlex.join(self.command)
        return (
            f"# folder:  {self.folder}\n# ranks:   {self.ranks}\n"
            f"# threads: {self.threads_per_rank} per rank\n# runs:    {command}\n{dump(self.config)}"
        )

    @property
    def method(self) -> str:
        """By the name that its experiment gave it."""
        (name,) = self.config["methods"]
        return str(name)


def dry_run(request: Request) -> list[PlannedRun]:
    """What would run, and what would stop it. Neither data nor a scheduler is needed."""
    plans, runs, options = [], request.runs(), request.options
    stopped = refusals(runs, options)
    for run in runs:
        folder = root() / run.experiment / folder_name(run, options.cores)
        threads = options.threads_for(run) or "from the environment"
        command = None if options.inline else command_of(folder, run, options).line
        document, stopped_by = run.document(), stopped[run.method]
        plans.append(PlannedRun(str(folder), options.cores, threads, command, document, stopped_by))
    return plans


def refusals(runs: Iterable[Run], options: Options) -> dict[str, list[str]]:
    """What each method of these runs would be refused for, all of it; nothing for one that can start."""
    found: dict[str, list[str]] = {}
    for run in {run.method: run for run in runs}.values():  # seeds make no difference
        found[run.method] = []
        for check in (lambda run, options: options.check(), check_kind, check_rows):
            try:
                check(run, options)
            except UserError as refusal:
                found[run.method].append(str(refusal))
    return found


def what_stops(refused: dict[str, list[str]]) -> list[str]:
    """These refusals, a line each: what would stop all methods, or some, which are named."""
    methods: dict[str, list[str]] = {}
    for method, texts in refused.items():
        for text in texts:
            methods.setdefault(text, []).append(method)
    return [
        f"would stop {'it' if len(names) == len(refused) else ', '.join(names)}: {line}"
        for text, names in methods.items()
        for line in text.splitlines()
    ]
