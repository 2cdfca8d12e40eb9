"""Step, evaluate, record, stop: what every method runs under, so that all are measured alike."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from admmctl.data.shards import Shard
from admmctl.experiment.schema import CheckpointSettings, Evaluate, Stop
from admmctl.methods.method import Diverged, Finished, Method, Problem, start
from admmctl.model.network import Model, Weights, predicted, score, targets
from admmctl.runs.auc import Ranking
from admmctl.runs.checkpoint import Cadence, Checkpoints
from admmctl.runs.clock import Clock
from admmctl.runs.record import Evaluation
from admmctl.runs.summary import Status, largest

# A residual this many times the one at the start has exploded, even if it is still a number.
EXPLODED = 1e8

# What ranks tell each other at the end of an iteration: the largest counts.
_SAVE, _STOP = 0.5, 1.0


@dataclass
class Outcome:
    """How a run has gone so far, and how it ended; the same on every rank."""

    status: Status = Status.EXHAUSTED
    reason: str = ""
    iterations: int = 0
    train_s: float = 0.0
    time_to_target_s: float | None = None
    previous_evaluation_s: float | None = None
    evaluations: list[Evaluation] = field(default_factory=list)
    best: Weights = field(default_factory=list)
    best_iteration: int = 0
    best_score: float = -math.inf  # its validation accuracy, or minus its training loss
    worse: int = 0  # evaluations since the best one
    final: Weights = field(default_factory=list)
    gates: NDArray[np.floating] | None = None  # with which the weights are a gated network
    model: Model | None = None  # what makes outputs of weights
    saved: dict[str, Any] | None = field(default_factory=dict)  # beside the weights; None: nothing can be

    @property
    def best_test_accuracy(self) -> float | None:
        return largest(e.test_accuracy for e in self.evaluations)

    @property
    def final_test_accuracy(self) -> float | None:
        return self.evaluations[-1].test_accuracy if self.evaluations else None

    def end(self, status: Status, reason: str) -> bool:
        """The run ends so; returns True."""
        self.status, self.reason = status, reason
        return True

    _KEPT = ("train_s", "best", "best_iteration", "best_score", "worse")

    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps of a run that goes on."""
        kept = {name: getattr(self, name) for name in self._KEPT}
        return {**kept, "evaluations": [asdict(evaluation) for evaluation in self.evaluations]}

    def recall(self, progress: dict[str, Any], iteration: int) -> None:
        """Take back what ``progress`` said, at that iteration."""
        self.iterations = iteration
        self.evaluations = [Evaluation(**evaluation) for evaluation in progress["evaluations"]]
        for name in self._KEPT:
            setattr(self, name, progress[name])


class Listener(Protocol):
    """Who is told what happens; the record, for instance."""

    def evaluated(self, evaluation: Evaluation) -> None:
        """After every evaluation."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def resumed(self, iteration: int, evaluations: list[Evaluation]) -> None:
        """At the start: the iteration that the run goes on from, or 0, and its evaluations until then."""


@dataclass
class Loop:
    """One run on this rank. ``interrupted`` says whether this process was asked to stop.

    With ``checkpoints`` it goes on from the newest one, and writes others.
    """

    method: Method
    problem: Problem
    train: Shard
    test: Shard
    validation: Shard | None
    stop: Stop
    evaluate: Evaluate
    clock: Clock
    listener: Listener
    interrupted: Callable[[], bool]
    checkpoints: Checkpoints | None = None
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)

    def run(self) -> Outcome:
        """Train until a target, a budget, divergence or an interruption; the same decision on every rank."""
        self.outcome = outcome = Outcome()
        self._test_targets = targets(self.test.labels, self.problem.network.sizes[-1], self.test.a0.dtype.type)
        two_classes = len(self._test_targets) <= 2
        self._ranking = Ranking(self.test, self.problem.comm) if two_classes else None
        self._counted = 0.0  # of this rank's training time, what train_s holds already
        self._state: Any = None
        self.clock.begin_training()
        try:
            self._state = start(self.method, self.problem)
            self._model = outcome.model = self.method.model(self._state, self.problem.network)
            for note in self.method.notes(self._state):
                self.listener.note(note)
            self._resume()
            self._cadence = Cadence(self.checkpoint, self._size())
            asked = self._agree(may_save=outcome.iterations > 0) == _STOP
            done = outcome.iterations == 0 and self._evaluated()
            done = done or self._over()
            if done and outcome.evaluations[-1].iteration != outcome.iterations:
                self._evaluated()  # of a budget that is smaller than what was done before
            if asked and not done:
                done = outcome.end(Status.INTERRUPTED, "asked to stop")
            while not done:
                finished = self._step()
                agreed = self._agree(may_save=outcome.iterations > 0)
                over = self._over() or bool(finished)
                if finished:
                    outcome.reason = finished
                    if outcome.evaluations[-1].iteration == outcome.iterations:
                        break
                due = self._due() or over
                if due:
                    done = self._evaluated() or over
                    self._next_epoch = self._epoch_after()
                if agreed and not done:
                    self._save()
                if agreed == _STOP and not done:
                    # After the checkpoint: a run that goes on has no evaluation that an unbroken one has not.
                    done = not due and self._evaluated()
                    done = done or outcome.end(Status.INTERRUPTED, "asked to stop")
        except Diverged as problem:
            self._agree(may_save=False)
            outcome.end(Status.DIVERGED, str(problem))
        finally:
            self.clock.end_training()  # while the threads of the method are there
            if self._state is not None:
                outcome.gates, outcome.saved = self.method.gates(self._state), self.method.saved(self._state)
                self.method.close(self._state)
            self._state = None  # its memory is free for what follows
        return outcome

    def _step(self) -> str:
        """One iteration; why there was none, when the method has nothing left to do."""
        with self.clock.phase("other"):
            try:
                self._state = self.method.step(self._state)
            except Finished as end:
                return str(end) or "the method has finished"
        self.outcome.iterations += 1
        return ""

    def _agree(self, may_save: bool) -> float:
        """Add this segment's training time, the largest over ranks; whether any rank is to stop, or to save.

        The answer, the same on all ranks, is _STOP, _SAVE or 0.
        """
        train, wish = self.clock.train, 0.0
        if self.interrupted():
            wish = _STOP
        elif self.checkpoints is not None and may_save and self._cadence.due(self.outcome.iterations):
            wish = _SAVE
        segment = np.array([train - self._counted, wish])
        self._counted = train
        self.problem.comm.allreduce(segment, op="max")
        self.outcome.train_s += float(segment[0])
        return float(segment[1])

    # --- checkpoints

    def _resume(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        found = None
        if self.checkpoints is not None:
            with self.clock.phase("load"):
                found = self.checkpoints.read()
        if found is None:
            self.listener.resumed(0, [])
            self._next_epoch = self._epoch_after()
            return
        self._state = self.method.restore(self._state, found.snapshot)
        self.clock.resume(found.clock)
        self._counted = self.clock.train
        self.outcome.recall(found.progress, found.iteration)
        self.outcome.final = [W_l.copy() for W_l in self.method.weights(self._state)]
        self._next_epoch = found.progress["next_epoch"]
        self.listener.resumed(found.iteration, self.outcome.evaluations)
        note = self.method.resume_note(self._state)
        if note:
            self.listener.note(note)

    def _size(self) -> int:
        """About the bytes of a checkpoint on this rank."""
        if self.checkpoints is None:
            return 0
        return sum(array.nbytes for array in self.method.snapshot(self._state).rows.values())

    def _save(self) -> None:
        """Write a checkpoint, where there are any; outside of training."""
        if self.checkpoints is None:
            return
        started = self.clock.wall
        with self.clock.phase("checkpoint"):
            progress = {**self.outcome.progress(), "next_epoch": self._next_epoch}
            snapshot = self.method.snapshot(self._state)
            self.checkpoints.write(self.outcome.iterations, snapshot, progress, self.clock.saved())
        self._cadence.wrote(self.clock.wall - started)

    # --- when to evaluate, and when to stop

    @property
    def _epoch(self) -> float:
        seen = self.method.rows_seen(self._state)
        return float(self.outcome.iterations) if seen is None else seen / self.problem.total

    def _epoch_after(self) -> float:
        """The next epoch at which an evaluation is due."""
        every = self.evaluate.every
        return (math.floor(self._epoch / every + 1e-9) + 1) * every

    def _due(self) -> bool:
        if self.evaluate.unit == "iteration":
            return self.outcome.iterations % self.evaluate.every == 0
        return self._epoch >= self._next_epoch - 1e-9

    def _over(self) -> bool:
        """Whether a budget is used up; the reason is noted."""
        stop, outcome = self.stop, self.outcome
        reasons = []
        if stop.iterations is not None and outcome.iterations >= stop.iterations:
            reasons.append(f"{outcome.iterations} iterations")
        if stop.epochs is not None and self._epoch >= stop.epochs - 1e-9:
            reasons.append(f"{self._epoch:g} epochs")
        if stop.seconds is not None and outcome.train_s >= stop.seconds:
            reasons.append(f"{stop.seconds:g} seconds of training")
        if reasons and outcome.status == Status.EXHAUSTED:
            outcome.reason = "used up: " + ", ".join(reasons)
        return bool(reasons)

    def _evaluated(self) -> bool:
        """Evaluate and record; True when that ends the run."""
        outcome, stop = self.outcome, self.stop
        with self.clock.phase("evaluate"):
            W = self.method.weights(self._state)
            evaluation = self._evaluation(W)
            self.listener.evaluated(evaluation)
            # Rank 0 writes the record: the others must not wait for it in the next reduction, which is timed.
            self.problem.comm.barrier()
        outcome.evaluations.append(evaluation)
        outcome.final = [W_l.copy() for W_l in W]
        diverged = self._diverged(evaluation)
        if diverged:
            return outcome.end(Status.DIVERGED, diverged)
        chosen = evaluation.validation_accuracy
        points = -evaluation.train_loss if chosen is None else chosen
        if points > outcome.best_score:
            outcome.best, outcome.best_iteration = outcome.final, outcome.iterations
            outcome.best_score, outcome.worse = points, 0
        else:
            outcome.worse += 1
        if self._reached(evaluation):
            outcome.time_to_target_s = evaluation.train_s
            if len(outcome.evaluations) > 1:
                outcome.previous_evaluation_s = outcome.evaluations[-2].train_s
            return outcome.end(Status.REACHED, f"{stop.metric} {getattr(evaluation, stop.metric):.6g}")
        if stop.patience is not None and outcome.worse >= stop.patience:
            return outcome.end(
                Status.EXHAUSTED, f"{stop.patience} evaluations without a better validation accuracy"
            )
        return False

    def _evaluation(self, W: Weights) -> Evaluation:
        p, train, test, validation = self.problem, self.train, self.test, self.validation
        model = self._model
        # Training loss and correct rows of train, test and validation; correct rows of train and test by the
        # method's own model, if it has one; test loss.
        sums = np.zeros(7)
        own = self.method.own_model
        sums[0:2] = score(model, W, p.loss, train.a0, p.y, train.labels)
        margins = None if self._ranking is None else self._ranking.own
        sums[6], sums[2] = score(model, W, p.loss, test.a0, self._test_targets, test.labels, margins)
        if validation is not None:
            sums[3] = (predicted(model, W, p.loss.threshold, validation.a0) == validation.labels).sum()
        if own:
            for place, shard in ((4, train), (5, test)):
                sums[place] = (self.method.own_labels(self._state, shard.a0) == shard.labels).sum()
        p.comm.allreduce(sums)
        residuals = self.method.residuals(self._state)
        if own:
            residuals[f"{own}_train_accuracy"] = float(sums[4]) / train.total
            residuals[f"{own}_test_accuracy"] = float(sums[5]) / test.total
        wall = np.array([self.clock.wall])
        p.comm.allreduce(wall, op="max")
        return Evaluation(
            iteration=self.outcome.iterations,
            epoch=self._epoch,
            train_s=self.outcome.train_s,
            wall_s=float(wall[0]),
            train_loss=float(sums[0]) / train.total,
            train_accuracy=float(sums[1]) / train.total,
            test_accuracy=float(sums[2]) / test.total,
            residuals=residuals,
            test_loss=float(sums[6]) / test.total,
            test_auc=None if self._ranking is None else self._ranking.auc(),
            validation_accuracy=None if validation is None else float(sums[3]) / validation.total,
        )

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
