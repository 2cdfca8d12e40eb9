"""Step, evaluate, record, stop: what every method runs under, so that all are measured alike."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from admmctl.data.shards import Shard
from admmctl.experiment.schema import CheckpointSettings, Evaluate, Stop
from admmctl.methods.method import Diverged, Finished, Method, Problem, start
from admmctl.model.network import Weights, predicted, score, targets
from admmctl.runs.cadence import Cadence
from admmctl.runs.checkpoint import Checkpoints
from admmctl.runs.clock import Clock
from admmctl.runs.outcome import Outcome
from admmctl.runs.record import Evaluation
from admmctl.runs.summary import Status

# A residual this many times the one at the start has exploded, even if it is still a number.
EXPLODED = 1e8

# What ranks tell each other at the end of an iteration: the largest counts.
_SAVE, _STOP = 0.5, 1.0


@dataclass
class Loop:
    """One run on this rank. ``interrupted`` says whether this process was asked to stop.

    With ``checkpoints`` it goes on from the newest one, and writes others. ``on_resume`` is told its iteration and
    the evaluations until then: 0 and none for a run that starts.
    """

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
    checkpoints: Checkpoints | None = None
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    on_resume: Callable[[int, list[Evaluation]], None] = lambda iteration, evaluations: None

    def run(self) -> Outcome:
        """Train until a target, a budget, divergence or an interruption; the same decision on every rank."""
        self.outcome = Outcome()
        self._worse = 0  # evaluations since the best one
        self._best = -math.inf  # its validation accuracy, or minus its training loss
        self._test_targets = targets(self.test.labels, self.problem.network.sizes[-1], self.test.a0.dtype.type)
        self._counted = 0.0  # of this rank's training time, what train_s holds already
        state = None
        try:
            state = start(self.method, self.problem)
            for note in self.method.notes(state):
                self.on_note(note)
            state, iteration, next_epoch = self._resumed(state)
            self._cadence = Cadence(self.checkpoint, self._size(state))
            asked = self._agree(iteration) == _STOP
            done = iteration == 0 and self._evaluated(state, 0)
            done = done or self._over(state, iteration)
            if done and self.outcome.evaluations[-1].iteration != iteration:
                self._evaluated(state, iteration)  # of a budget that is smaller than what was done before
            if asked and not done:
                done = self._interrupt()
            while not done:
                state, finished = self._step(state)
                iteration += not finished
                self.outcome.iterations = iteration
                agreed = self._agree(iteration)
                asked = agreed == _STOP
                over = self._over(state, iteration) or bool(finished)
                if finished:
                    self.outcome.reason = finished
                    if self.outcome.evaluations[-1].iteration == iteration:
                        break
                due = self._due(state, iteration, next_epoch) or over
                if due:
                    done = self._evaluated(state, iteration) or over
                    next_epoch = self._epoch_after(state, iteration)
                if agreed and not done:
                    self._save(state, iteration, next_epoch)
                if asked and not done:
                    # After the checkpoint: a run that goes on has no evaluation that an unbroken one has not.
                    done = not due and self._evaluated(state, iteration)
                    done = done or self._interrupt()
        except Diverged as problem:
            self._agree(-1)
            self.outcome.status, self.outcome.reason = Status.DIVERGED, str(problem)
        finally:
            if state is not None:
                self.outcome.gates = self.method.gates(state)
                self.method.close(state)
        return self.outcome

    def _interrupt(self) -> bool:
        self.outcome.status, self.outcome.reason = Status.INTERRUPTED, "asked to stop"
        return True

    def _step(self, state: Any) -> tuple[Any, str]:
        """The state after one iteration; and why there was none, when the method has nothing left to do."""
        with self.clock.phase("other"):
            try:
                return self.method.step(state), ""
            except Finished as end:
                return state, str(end) or "the method has finished"

    def _agree(self, iteration: int) -> float:
        """Add this segment's training time, the largest over ranks; whether any rank is to stop, or to save.

        The answer, the same on all ranks, is _STOP, _SAVE or 0.
        """
        train, wish = self.clock.train, 0.0
        if self.interrupted():
            wish = _STOP
        elif self.checkpoints is not None and iteration > 0 and self._cadence.due(iteration):
            wish = _SAVE
        segment = np.array([train - self._counted, wish])
        self._counted = train
        self.problem.comm.allreduce(segment, op="max")
        self.outcome.train_s += float(segment[0])
        return float(segment[1])

    def _resumed(self, state: Any) -> tuple[Any, int, float]:
        """The state to go on with, its iteration, and the epoch of its next evaluation."""
        found = None
        if self.checkpoints is not None:
            with self.clock.phase("load"):
                found = self.checkpoints.read()
        if found is None:
            self.on_resume(0, [])
            return state, 0, self._epoch_after(state, 0)
        state = self.method.restore(state, found.snapshot)
        self.clock.resume(**found.clock)
        progress = found.progress
        self._counted, self._worse = self.clock.train, progress["worse"]
        self._best = progress["best_score"]
        self.outcome.recall(progress, found.iteration)
        self.outcome.final = [W_l.copy() for W_l in self.method.weights(state)]
        self.on_resume(found.iteration, self.outcome.evaluations)
        note = self.method.resume_note(state)
        if note:
            self.on_note(note)
        return state, found.iteration, progress["next_epoch"]

    def _size(self, state: Any) -> int:
        """About the bytes of a checkpoint on this rank."""
        if self.checkpoints is None:
            return 0
        rows = self.method.snapshot(state).rows
        return sum(array.nbytes for array in rows.values())

    def _save(self, state: Any, iteration: int, next_epoch: float) -> None:
        """Write a checkpoint, where there are any; outside of training."""
        if self.checkpoints is None:
            return
        started = self.clock.wall
        with self.clock.phase("checkpoint"):
            own = {"worse": self._worse, "best_score": self._best, "next_epoch": next_epoch}
            snapshot = self.method.snapshot(state)
            self.checkpoints.write(iteration, snapshot, {**self.outcome.progress(), **own}, self.clock.saved())
        self._cadence.wrote(self.clock.wall - started)

    def _epoch(self, state: Any, iteration: int) -> float:
        seen = self.method.rows_seen(state)
        return float(iteration) if seen is None else seen / self.problem.total

    def _epoch_after(self, state: Any, iteration: int) -> float:
        """The next epoch at which an evaluation is due."""
        every = self.evaluate.every
        return (math.floor(self._epoch(state, iteration) / every + 1e-9) + 1) * every

    def _due(self, state: Any, iteration: int, next_epoch: float) -> bool:
        if self.evaluate.unit == "iteration":
            return iteration % self.evaluate.every == 0
        return self._epoch(state, iteration) >= next_epoch - 1e-9

    def _over(self, state: Any, iteration: int) -> bool:
        """Whether a budget is used up; the reason is noted."""
        stop = self.stop
        reasons = []
        if stop.iterations is not None and iteration >= stop.iterations:
            reasons.append(f"{iteration} iterations")
        if stop.epochs is not None and self._epoch(state, iteration) >= stop.epochs - 1e-9:
            reasons.append(f"{self._epoch(state, iteration):g} epochs")
        if stop.seconds is not None and self.outcome.train_s >= stop.seconds:
            reasons.append(f"{stop.seconds:g} seconds of training")
        if reasons and self.outcome.status == Status.EXHAUSTED:
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
            outcome.status, outcome.reason = Status.DIVERGED, diverged
            return True
        if self._is_best(evaluation):
            outcome.best, outcome.best_iteration = outcome.final, iteration
            self._worse = 0
        else:
            self._worse += 1
        if self._reached(evaluation):
            outcome.status = Status.REACHED
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
        own = self.method.own_model
        sums[0:2] = score(p.network, W, p.loss, self.train.a0, p.y, self.train.labels)
        test = self.test
        sums[6], sums[2] = score(p.network, W, p.loss, test.a0, self._test_targets, test.labels)
        if self.validation is not None:
            sums[3] = self._correct(W, self.validation)
        if own:
            for place, shard in ((4, self.train), (5, self.test)):
                labels = self.method.own_labels(state, shard.a0)
                sums[place] = (labels == shard.labels).sum()
        p.comm.allreduce(sums)
        residuals = self.method.residuals(state)
        if own:
            residuals[f"{own}_train_accuracy"] = float(sums[4]) / self.train.total
            residuals[f"{own}_test_accuracy"] = float(sums[5]) / self.test.total
        wall = np.array([self.clock.wall])
        p.comm.allreduce(wall, op="max")
        return Evaluation(
            iteration=iteration,
            epoch=self._epoch(state, iteration),
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
