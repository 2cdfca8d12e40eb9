"""The loop: when it evaluates, when it stops, what it calls the end. With methods that follow a script."""

from dataclasses import replace

import numpy as np
import pytest
from support.ranks import CountingComm
from support.scripted import ROWS, ScriptedMethod, loop

from admmctl.experiment.config import Evaluate
from admmctl.methods.method import Diverged

NAN = float("nan")


def run(script, *, rows_per_step=ROWS, seconds_per_step=0.0, **settings):
    made, shown = loop(ScriptedMethod(script, rows_per_step, seconds_per_step), **settings)
    outcome = made.run()
    assert shown == outcome.evaluations
    return outcome


def evaluated(outcome):
    return [e.iteration for e in outcome.evaluations]


def accuracies(*values):
    return [{"accuracy": value} for value in values]


def test_the_script_says_what_is_evaluated():
    outcome = run([{"loss": 0.25, "accuracy": 0.3}, {"loss": 0.04, "accuracy": 0.9}], iterations=1)
    assert [e.train_loss for e in outcome.evaluations] == pytest.approx([0.25, 0.04])
    assert [e.test_accuracy for e in outcome.evaluations] == [0.3, 0.9]
    assert [e.train_accuracy for e in outcome.evaluations] == [0.0, 1.0]
    assert outcome.final_test_accuracy == 0.9


def test_the_test_loss_is_the_mean_over_test_rows():
    outcome = run([{"loss": 0.25, "accuracy": 0.3}], iterations=0)
    (evaluation,) = outcome.evaluations
    # Above the threshold of 1/2 are three rows of ten: row i has the output (i + 1/2) / 10 + v with v = -0.2.
    z = (np.arange(ROWS) + 0.5) / ROWS - 0.2
    assert evaluation.test_loss == pytest.approx(((1 - z) ** 2).mean())
    assert evaluation.row()["test_loss"] == evaluation.test_loss


# -- targets


def test_a_target_stops_the_run_and_keeps_the_evaluation_before_it():
    outcome = run(accuracies(0.1, 0.4, 0.6, 0.9), seconds_per_step=2.0, target=0.6, iterations=50)
    assert outcome.status == "reached"
    assert outcome.iterations == 2
    assert evaluated(outcome) == [0, 1, 2]
    assert outcome.time_to_target_s == 4.0
    assert outcome.previous_evaluation_s == 2.0
    assert "test_accuracy 0.6" in outcome.reason


@pytest.mark.parametrize(
    ("accuracies", "settings", "iterations", "time", "previous"),
    [
        ((0.1, 0.9), {"evaluate": Evaluate(every=3), "iterations": 50}, 3, 3.0, 0.0),  # met between evaluations
        ((0.9,), {"iterations": 50}, 0, 0.0, None),  # met at the start
        ((0.1, 0.1, 0.9), {"iterations": 2}, 2, 2.0, 1.0),  # met at the last iteration
    ],
)
def test_a_target_is_met_at_an_evaluation(accuracies, settings, iterations, time, previous):
    script = [{"accuracy": accuracy} for accuracy in accuracies]
    outcome = run(script, seconds_per_step=1.0, target=0.6, **settings)
    assert (outcome.status, outcome.iterations) == ("reached", iterations)
    assert (outcome.time_to_target_s, outcome.previous_evaluation_s) == (time, previous)


def test_a_missed_target_leaves_no_time():
    outcome = run(accuracies(0.1, 0.5), target=0.6, iterations=4)
    assert (outcome.status, outcome.reason) == ("exhausted", "used up: 4 iterations")
    assert (outcome.time_to_target_s, outcome.previous_evaluation_s) == (None, None)


@pytest.mark.parametrize(
    ("metric", "target", "iterations"),
    [("train_loss", 0.3 + 1e-12, 2), ("train_accuracy", 1.0, 3), ("test_accuracy", 0.8, 1)],
)
def test_a_target_is_of_its_metric(metric, target, iterations):
    losses, accuracies = (1.0, 0.5, 0.3, 0.01), (0.0, 0.8, 0.0, 0.0)
    script = [{"loss": loss, "accuracy": a} for loss, a in zip(losses, accuracies, strict=True)]
    outcome = run(script, metric=metric, target=target, iterations=50)
    assert (outcome.status, outcome.iterations) == ("reached", iterations)


# -- divergence


@pytest.mark.parametrize("metric", ["test_accuracy", "train_accuracy", "train_loss"])
@pytest.mark.parametrize("target", [1e-9, 0.5])
def test_nan_never_reaches_a_target_and_is_divergence(metric, target):
    script = [{"loss": 1.0, "accuracy": 0.0}, {"loss": NAN, "accuracy": NAN}]
    outcome = run(script, metric=metric, target=target, iterations=50)
    assert (outcome.status, outcome.iterations) == ("diverged", 1)
    assert outcome.time_to_target_s is None
    assert "training loss is nan after 1 iterations" in outcome.reason


def test_nan_outputs_are_of_no_class():
    made, shown = loop(ScriptedMethod([{"accuracy": 1.0}]), target=0.9, iterations=3)
    made.test.a0[:, :3] = NAN
    assert made.run().status == "exhausted"
    assert [e.test_accuracy for e in shown] == [0.7, 0.7, 0.7, 0.7]


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"residual": NAN}, "residual is nan"),
        ({"residual": -float("inf")}, "residual is -inf"),
        ({"loss": float("inf")}, "the training loss is "),
    ],
)
def test_what_is_no_number_is_divergence(bad, reason):
    outcome = run([{}, {}, bad], iterations=50)
    assert (outcome.status, outcome.iterations) == ("diverged", 2)
    assert outcome.reason.startswith(reason)


@pytest.mark.parametrize(
    ("first", "later", "status"),
    [
        (1.0, 1.1e8, "diverged"),
        (1.0, -1.1e8, "diverged"),
        (1e-9, 1e7, "exhausted"),  # small at the start is no reason to call the first growth an explosion
        (1e3, 1.1e8, "exhausted"),
        (1e3, 1.1e11, "diverged"),
    ],
)
def test_an_exploding_residual_is_divergence(first, later, status):
    outcome = run([{"residual": first}, {"residual": later}], iterations=3)
    assert outcome.status == status


def test_divergence_beats_a_target():
    outcome = run([{"accuracy": 0.1}, {"accuracy": 1.0, "residual": NAN}], target=0.5, iterations=50)
    assert outcome.status == "diverged"


def test_a_method_that_gives_up_has_diverged():
    script = [{"loss": 0.5}, {"loss": 0.25}, {"raises": Diverged("a a' is not finite")}]
    outcome = run(script, seconds_per_step=1.0, iterations=50)
    assert (outcome.status, outcome.reason) == ("diverged", "a a' is not finite")
    assert outcome.iterations == 1
    assert outcome.best_iteration == 1
    assert outcome.train_s == 2.0  # the step that failed took its time, too


def test_a_method_that_cannot_start_has_diverged():
    outcome = run([{"raises": Diverged("no start")}], iterations=50)
    assert (outcome.status, outcome.iterations, outcome.evaluations) == ("diverged", 0, [])
    assert outcome.best_test_accuracy is None
    assert outcome.final_test_accuracy is None


def test_any_other_error_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        run([{}, {"raises": ZeroDivisionError()}], iterations=50)


# -- budgets


@pytest.mark.parametrize("iterations", [0, 1, 7])
def test_iterations(iterations):
    outcome = run([{}], iterations=iterations)
    assert (outcome.status, outcome.iterations) == ("exhausted", iterations)
    assert outcome.reason == f"used up: {iterations} iterations"
    assert evaluated(outcome) == list(range(iterations + 1))


@pytest.mark.parametrize(("rows_per_step", "epochs", "iterations"), [(10, 3, 3), (3, 1, 4), (1, 0.3, 3)])
def test_epochs(rows_per_step, epochs, iterations):
    outcome = run([{}], rows_per_step=rows_per_step, epochs=epochs)
    assert (outcome.status, outcome.iterations) == ("exhausted", iterations)
    assert outcome.evaluations[-1].epoch == pytest.approx(iterations * rows_per_step / ROWS)


def test_seconds_are_seconds_of_training():
    outcome = run([{}], seconds_per_step=0.5, seconds=2.0)
    assert (outcome.status, outcome.iterations, outcome.train_s) == ("exhausted", 4, 2.0)
    assert outcome.evaluations[-1].wall_s > outcome.evaluations[-1].train_s
    assert outcome.reason == "used up: 2 seconds of training"


def test_the_first_budget_that_is_used_up_ends_the_run():
    outcome = run([{}], seconds_per_step=1.0, iterations=9, epochs=5, seconds=3)
    assert outcome.iterations == 3
    outcome = run([{}], seconds_per_step=1.0, iterations=9, epochs=2, seconds=3)
    assert outcome.iterations == 2


# -- evaluations


def test_every_third_iteration_and_the_last_are_evaluated():
    assert evaluated(run([{}], evaluate=Evaluate(every=3), iterations=8)) == [0, 3, 6, 8]
    assert evaluated(run([{}], evaluate=Evaluate(every=3), iterations=6)) == [0, 3, 6]
    assert evaluated(run([{}], evaluate=Evaluate(every=100), iterations=6)) == [0, 6]


@pytest.mark.parametrize(
    ("rows_per_step", "every", "expected"),
    [
        (10, 1, [0, 1, 2, 3, 4]),
        (10, 2, [0, 2, 4]),
        (5, 1, [0, 2, 4, 6, 8]),
        (3, 1, [0, 4, 7, 10, 14]),  # epochs 1.2, 2.1, 3.0, 4.2: the first iteration past each whole epoch
        (25, 1, [0, 1, 2]),  # several epochs a step: once a step, never twice
    ],
)
def test_every_epoch_is_evaluated(rows_per_step, every, expected):
    outcome = run([{}], rows_per_step=rows_per_step, evaluate=Evaluate(every=every, unit="epoch"), epochs=4)
    assert evaluated(outcome) == expected


def test_steps_of_a_third_of_an_epoch_add_up_to_epochs():
    made, shown = loop(ScriptedMethod([{}], rows_per_step=1), evaluate=Evaluate(unit="epoch"), epochs=20)
    made.problem = replace(made.problem, total=3)
    made.run()
    assert [e.iteration for e in shown] == list(range(0, 61, 3))


def test_the_best_iterate_is_the_one_of_lowest_training_loss():
    script = [
        {"loss": 0.9, "accuracy": 0.2},
        {"loss": 0.1, "accuracy": 0.6},
        {"loss": 0.4, "accuracy": 0.9},
        {"loss": 0.3, "accuracy": 0.7},
    ]
    outcome = run(script, iterations=3)
    method = ScriptedMethod(script)
    assert outcome.best_iteration == 1
    np.testing.assert_array_equal(outcome.best[0], method.weights(1)[0])
    np.testing.assert_array_equal(outcome.final[0], method.weights(3)[0])
    assert outcome.best_test_accuracy == 0.9  # over the whole curve, not that of the best iterate


def test_the_best_iterate_survives_weights_that_change_in_place():
    class InPlace(ScriptedMethod):
        W = np.zeros((1, 3))

        def weights(self, iteration):
            self.W[...] = super().weights(iteration)[0]
            return [self.W]

    script = [{"loss": loss} for loss in (0.9, 0.1, 0.4)]
    made, _ = loop(InPlace(script), iterations=2)
    outcome = made.run()
    np.testing.assert_array_equal(outcome.best[0], ScriptedMethod(script).weights(1)[0])


def test_the_iterate_that_diverged_is_not_the_best():
    outcome = run([{"loss": 0.9}, {"loss": 0.5}, {"loss": 0.1, "residual": NAN}], iterations=9)
    assert (outcome.status, outcome.best_iteration) == ("diverged", 1)


# -- interruptions and other ranks


def test_an_interruption_ends_the_run_after_an_evaluation():
    asked = iter([False, False, False, True])  # after init, steps 1, 2 and 3
    outcome = run([{}], evaluate=Evaluate(every=10), interrupted=lambda: next(asked), iterations=50)
    assert (outcome.status, outcome.iterations) == ("interrupted", 3)
    assert outcome.reason == "asked to stop"
    assert evaluated(outcome) == [0, 3]


def test_an_interruption_of_the_iteration_that_reaches_the_target_is_a_reached_target():
    asked = iter([False, True])
    outcome = run(accuracies(0.1, 0.9), interrupted=lambda: next(asked), target=0.9, iterations=50)
    assert outcome.status == "reached"


class SlowerRank(CountingComm):
    """Another rank whose every segment takes at least one second, and which is asked to stop at some time."""

    def __init__(self, asked_at=None):
        super().__init__()
        self.segments = 0
        self.asked_at = asked_at

    def allreduce(self, buffer, op="sum"):
        if op == "max" and buffer.size == 2:
            other = [1.0 if self.segments else 0.0, float(self.segments == self.asked_at)]
            np.maximum(buffer, other, out=buffer)
            self.segments += 1


def test_the_time_of_a_segment_is_the_largest_over_ranks():
    outcome = run([{}], seconds_per_step=0.25, comm=SlowerRank(), iterations=3)
    assert [e.train_s for e in outcome.evaluations] == [0.0, 1.0, 2.0, 3.0]
    outcome = run([{}], seconds_per_step=2.0, comm=SlowerRank(), iterations=3)
    assert outcome.train_s == 6.0


def test_a_rank_that_is_asked_to_stop_stops_all():
    outcome = run([{}], comm=SlowerRank(asked_at=2), iterations=50)
    assert (outcome.status, outcome.iterations) == ("interrupted", 2)


def test_waiting_for_cores_is_measured_while_the_method_has_its_threads(monkeypatch):
    happened = []
    method = ScriptedMethod([{}])
    made, _ = loop(method, iterations=2)

    def noted(whose, name):
        real = getattr(whose, name)

        def called(*arguments):
            happened.append(name)
            return real(*arguments)

        monkeypatch.setattr(whose, name, called)

    for whose, name in ((made.clock, "begin_training"), (made.clock, "end_training"), (method, "close")):
        noted(whose, name)
    made.run()
    assert happened == ["begin_training", "end_training", "close"]
