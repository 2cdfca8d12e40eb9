"""Step, evaluate, record, stop: what every method runs under, so that all are measured alike."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from admmctl.data.shards import Shard
from admmctl.methods.method import Diverged, Finished, Method, Problem
from admmctl.model.network import Weights, predicted, score, targets
from admmctl.runs.clock import Clock
from admmctl.runs.record import Evaluation
from admmctl.schema import Evaluate, Stop

Status = Literal["reached", "exhausted", "diverged", "failed", "interrupted"]

# A residual this many times the one at the start has exploded, even if it is still a number.
EXPLODED = 1e8


@dataclass
class Outcome:
    """How a run ended, on rank 0 and everywhere else alike."""

    status: Status = "exhausted"
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


@dataclass
class Loop:
    """One run on this rank. ``interrupted`` says whether this process was asked to stop."""

    method: Method
    problem: Problem
    train: Shard
    test: Shard
    validation: Shard | None
    stop: Stop
    evaluate: Evaluate
    clock: Clock
    on_evaluation: Callable[[Evaluation], None]
    on_note: Callable[[str], None]
    interrupted: Callable[[], bool]

    def run(self) -> Outcome:
        """Train until a target, a budget, divergence or an interruption; the same decision on every rank."""
        self.outcome = Outcome()
        self._worse = 0  # evaluations since the best one
        self._best = -math.inf  # its validation accuracy, or minus its training loss
        self._test_targets = targets(self.test.labels, self.problem.network.sizes[-1], self.test.a0.dtype.type)
        self._counted = 0.0  # of this rank's training time, what train_s holds already
        state = None
        try:
            state = self.method.init(self.problem)
            if hasattr(self.method, "notes"):
                for note in self.method.notes(state):
                    self.on_note(note)
            asked = self._agree()
            done = self._evaluated(state, 0) or self._over(state, 0)
            if asked and not done:
                done = self._interrupt()
            iteration = 0
            next_epoch = self._epoch_after(state)
            while not done:
                state, finished = self._step(state)
                iteration += not finished
                self.outcome.iterations = iteration
                asked = self._agree()
                over = self._over(state, iteration) or bool(finished)
                if finished:
                    self.outcome.reason = finished
                    if self.outcome.evaluations[-1].iteration == iteration:
                        break
                if self._due(state, iteration, next_epoch) or over or asked:
                    done = self._evaluated(state, iteration)
                    next_epoch = self._epoch_after(state)
                if asked and not done and not over:
                    self._interrupt()
                done = done or over or asked
        except Diverged as problem:
            self._agree()
            self.outcome.status, self.outcome.reason = "diverged", str(problem)
        finally:
            if state is not None:
                if hasattr(self.method, "gates"):
                    self.outcome.gates = self.method.gates(state)
                self.method.close(state)
        return self.outcome

    def _interrupt(self) -> bool:
        self.outcome.status, self.outcome.reason = "interrupted", "asked to stop"
        return True

    def _step(self, state: Any) -> tuple[Any, str]:
        """The state after one iteration; and why there was none, when the method has nothing left to do."""
        with self.clock.phase("other"):
            try:
                return self.method.step(state), ""
            except Finished as end:
                return state, str(end) or "the method has finished"

    def _agree(self) -> bool:
        """Add this segment's training time, the largest over ranks; whether any rank was asked to stop."""
        train = self.clock.train
        segment = np.array([train - self._counted, float(self.interrupted())])
        self._counted = train
        self.problem.comm.allreduce(segment, op="max")
        self.outcome.train_s += float(segment[0])
        return bool(segment[1])

    def _epoch(self, state: Any) -> float:
        return self.method.rows_seen(state) / self.problem.total

    def _epoch_after(self, state: Any) -> float:
        """The next epoch at which an evaluation is due."""
        every = self.evaluate.every
        return (math.floor(self._epoch(state) / every + 1e-9) + 1) * every

    def _due(self, state: Any, iteration: int, next_epoch: float) -> bool:
        if self.evaluate.unit == "iteration":
            return iteration % self.evaluate.every == 0
        return self._epoch(state) >= next_epoch - 1e-9

    def _over(self, state: Any, iteration: int) -> bool:
        """Whether a budget is used up; the reason is noted."""
        stop = self.stop
        reasons = []
        if stop.iterations is not None and iteration >= stop.iterations:
            reasons.append(f"{iteration} iterations")
        if stop.epochs is not None and self._epoch(state) >= stop.epochs - 1e-9:
            reasons.append(f"{self._epoch(state):g} epochs")
        if stop.seconds is not None and self.outcome.train_s >= stop.seconds:
            reasons.append(f"{stop.seconds:g} seconds of training")
        if reasons and self.outcome.status == "exhausted":
            self.outcome.reason = "used up: " + ", ".join(reasons)
        return bool(reasons)

    def _evaluated(self, state: Any, iteration: int) -> bool:
        """Evaluate and record; True when that ends the run."""
        with self.clock.phase("evaluate"):
            evaluation = self._evaluation(state, iteration)
            self.on_evaluation(evaluation)
            # Rank 0 writes the record: the others must not wait for it in the next reduction, which is timed.
            self.problem.comm.barrier()
        outcome = self.outcome
        outcome.evaluations.append(evaluation)
        outcome.final = [W_l.copy() for W_l in self._weights]
        diverged = self._diverged(evaluation)
        if diverged:
            outcome.status, outcome.reason = "diverged", diverged
            return True
        if self._is_best(evaluation):
            outcome.best, outcome.best_iteration = outcome.final, iteration
            self._worse = 0
        else:
            self._worse += 1
        if self._reached(evaluation):
            outcome.status = "reached"
            outcome.reason = f"{self.stop.metric} {getattr(evaluation, self.stop.metric):.6g}"
            outcome.time_to_target_s = evaluation.train_s
            if len(outcome.evaluations) > 1:
                outcome.previous_evaluation_s = outcome.evaluations[-2].train_s
            return True
        if self.stop.patience is not None and self._worse >= self.stop.patience:
            outcome.reason = f"{self.stop.patience} evaluations without a better validation accuracy"
            return True
        return False

    def _is_best(self, evaluation: Evaluation) -> bool:
        """Whether no evaluation before was as good: by validation accuracy, or else by training loss."""
        chosen = evaluation.validation_accuracy
        score = -evaluation.train_loss if chosen is None else chosen
        better = score > self._best
        self._best = max(self._best, score)
        return better

    def _evaluation(self, state: Any, iteration: int) -> Evaluation:
        p = self.problem
        self._weights = W = self.method.weights(state)
        # Training loss and correct rows of train, test and validation; correct rows of train and test by the
        # method's own model, if it has one; test loss.
        sums = np.zeros(7)
        own = getattr(self.method, "own_model", None)
        sums[0:2] = score(p.network, W, p.loss, self.train.a0, p.y, self.train.labels)
        test = self.test
        sums[6], sums[2] = score(p.network, W, p.loss, test.a0, self._test_targets, test.labels)
        if self.validation is not None:
            sums[3] = self._correct(W, self.validation)
        if own is not None:
            for place, shard in ((4, self.train), (5, self.test)):
                labels = self.method.own_labels(state, shard.a0)  # type: ignore[attr-defined]
                sums[place] = (labels == shard.labels).sum()
        p.comm.allreduce(sums)
        residuals = self.method.residuals(state)
        if own is not None:
            residuals[f"{own}_train_accuracy"] = float(sums[4]) / self.train.total
            residuals[f"{own}_test_accuracy"] = float(sums[5]) / self.test.total
        wall = np.array([self.clock.wall])
        p.comm.allreduce(wall, op="max")
        return Evaluation(
            iteration=iteration,
            epoch=self._epoch(state),
            train_s=self.outcome.train_s,
            wall_s=float(wall[0]),
            train_loss=float(sums[0]) / self.train.total,
            train_accuracy=float(sums[1]) / self.train.total,
            test_accuracy=float(sums[2]) / self.test.total,
            residuals=residuals,
            test_loss=float(sums[6]) / self.test.total,
            validation_accuracy=None if self.validation is None else float(sums[3]) / self.validation.total,
        )

    def _correct(self, W: Weights, shard: Shard) -> int:
        labels = predicted(self.problem.network, W, self.problem.loss.threshold, shard.a0)
        return int((labels == shard.labels).sum())

    def _diverged(self, evaluation: Evaluation) -> str:
        """Why the numbers can no longer be trusted, or ''."""
        if not math.isfinite(evaluation.train_loss):
            return f"the training loss is {evaluation.train_loss} after {evaluation.iteration} iterations"
        first = self.outcome.evaluations[0].residuals
        for name, value in evaluation.residuals.items():
            if not math.isfinite(value):
                return f"{name} is {value} after {evaluation.iteration} iterations"
            if abs(value) > EXPLODED * max(1.0, abs(first[name])):
                return f"{name} has grown from {first[name]:.3g} to {value:.3g}"
        return ""

    def _reached(self, evaluation: Evaluation) -> bool:
        """NaN satisfies no comparison and so never reaches a target."""
        if self.stop.target is None:
            return False
        value = getattr(evaluation, self.stop.metric)
        if self.stop.metric == "train_loss":
            return bool(value <= self.stop.target)
        return bool(value >= self.stop.target)
