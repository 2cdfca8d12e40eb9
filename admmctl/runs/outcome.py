"""How a run has gone so far, and how it ended."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admmctl.model.network import Weights
from admmctl.runs.record import Evaluation
from admmctl.runs.summary import Status


@dataclass
class Outcome:
    """How a run ended, on rank 0 and everywhere else alike."""

    status: Status = Status.EXHAUSTED
    reason: str = ""
    iterations: int = 0
    train_s: float = 0.0
    time_to_target_s: float | None = None
    previous_evaluation_s: float | None = None
    evaluations: list[Evaluation] = field(default_factory=list)
    best: Weights = field(default_factory=list)
    best_iteration: int = 0
    final: Weights = field(default_factory=list)
    gates: NDArray[np.floating] | None = None  # with which the weights are a gated network

    @property
    def best_test_accuracy(self) -> float | None:
        accuracies = [e.test_accuracy for e in self.evaluations if not math.isnan(e.test_accuracy)]
        return max(accuracies, default=None)

    @property
    def final_test_accuracy(self) -> float | None:
        return self.evaluations[-1].test_accuracy if self.evaluations else None

    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps of a run that goes on."""
        return {
            "train_s": self.train_s,
            "evaluations": [asdict(evaluation) for evaluation in self.evaluations],
            "best": self.best,
            "best_iteration": self.best_iteration,
        }

    def recall(self, progress: dict[str, Any], iteration: int) -> None:
        """Take back what ``progress`` said, at that iteration."""
        self.iterations, self.train_s = iteration, progress["train_s"]
        self.evaluations = [Evaluation(**evaluation) for evaluation in progress["evaluations"]]
        self.best, self.best_iteration = progress["best"], progress["best_iteration"]
