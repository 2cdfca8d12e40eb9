"""Runs that a test makes up, and what a claim of the catalogue comes to from them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from admmctl.papers.catalogue import CLAIMS
from admmctl.papers.claims import Evidence, Judged, judge
from admmctl.runs.record import Evaluation, RunFolder
from admmctl.runs.recorded import Recorded
from support.studies import write_run


class MadeUp:
    """Repeats of methods, in a folder of the test's."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.runs: dict[str, list[Recorded]] = {}
        self._made = 0

    def repeat(self, method: str, run: Callable[[int], dict[str, Any]], repeats: int = 6) -> "MadeUp":
        """``repeats`` of a method, in the place of any before: ``run`` of the seed gives the summary's values.

        Rows of its ``curve`` are (iteration, epoch, training loss, training accuracy, test accuracy). ``time`` is
        seconds to the target, None for a miss.
        """
        self.runs[method] = []
        self._made += 1
        for seed in range(repeats):
            values = {"time": None, "curve": (), "method": method, **run(seed)}
            curve = values.pop("curve")
            place = self.place / str(self._made) / f"{method}-p1-s{seed}"
            folder = write_run(place, cores=1, seed=seed, **values)
            RunFolder(folder).rewrite(
                Evaluation(*row[:2], 0.1 * row[0], 0.2 * row[0], *row[2:], residuals={}) for row in curve
            )
            self.runs[method].append(Recorded(folder))
        return self

    def told(self, claim: str) -> Judged:
        """The verdict on a claim, where these are all the runs there are."""
        works = CLAIMS[claim].work
        return judge(
            CLAIMS[claim],
            [
                Evidence(
                    work, {name: self.runs[name][: work.repeats] for name in work.methods if name in self.runs}
                )
                for work in works
            ],
        )
