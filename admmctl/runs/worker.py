"""What every rank executes: load its rows, train, and on rank 0 record.

Started by the launcher as ``python -m mpi4py -m admmctl.runs.worker FOLDER RANKS WATCHED OPTIONS...``, or called
in the driver's own process for one rank. WATCHED are the seconds without progress after which a job fails, or 0;
OPTIONS said how ranks start. Rank 0 tells the driver what happens, as JSON lines on standard output.
"""

import time

_STARTED = time.perf_counter()  # before the heavy imports: they are part of wall_s

from admmctl.launch.rank import report, tell  # noqa: E402

if __name__ == "__main__":
    report("started")

import signal  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from admmctl.comm import MPI, Comm  # noqa: E402
from admmctl.data import shards  # noqa: E402
from admmctl.errors import UserError  # noqa: E402
from admmctl.experiment.config import load  # noqa: E402
from admmctl.launch import rank as this_rank  # noqa: E402
from admmctl.launch.signals import stop_on_signal  # noqa: E402
from admmctl.methods.method import Problem  # noqa: E402
from admmctl.model.losses import losses  # noqa: E402
from admmctl.model.network import predicted, targets  # noqa: E402
from admmctl.runs import environment, memory  # noqa: E402
from admmctl.runs.build import build  # noqa: E402
from admmctl.runs.checkpoint import Checkpoints  # noqa: E402
from admmctl.runs.clock import READ, CallingThread, Clock, over_ranks, summarise_phases  # noqa: E402
from admmctl.runs.disturbed import judge  # noqa: E402
from admmctl.runs.events import Event, note  # noqa: E402
from admmctl.runs.loop import Loop, Outcome  # noqa: E402
from admmctl.runs.record import Evaluation, RunFolder, rerun_line  # noqa: E402
from admmctl.runs.summary import Status, Summary, identity, largest  # noqa: E402

Notify = Callable[[Event], None]

CONSTANT = (
    "every test row is given the same class: the network has collapsed to a constant output, or has learned "
    "nothing yet; try shorter steps, or less L2 or weight decay"
)


def work(
    folder: RunFolder,
    comm: Comm,
    notify: Notify,
    options: Sequence[str],
    started: float,
    on_stop: Callable[[], None] = lambda: None,
) -> None:
    """Run the experiment in ``folder`` on this rank. Rank 0 calls ``notify`` with every event.

    ``options`` of the command line said how ranks start: the summary's ``rerun`` has them. ``on_stop`` is called,
    by the handler of the signal, when this process is asked to stop.
    """
    # To the end: a signal that comes late breaks no writing. Numbers that overflow are noticed by the loop, which
    # calls the run diverged: no warnings besides.
    with stop_on_signal(on_stop) as interrupted, np.errstate(all="ignore"):
        rank = _Rank(folder, comm, notify, started)
        rank.load()
        rank.describe()
        outcome = rank.train(interrupted)
        rank.record(outcome, options)


class _Rank:
    """One rank's part in a run. What happens in the loop goes into the run folder and to the driver, on rank 0."""

    def __init__(self, folder: RunFolder, comm: Comm, notify: Notify, started: float) -> None:
        self.folder, self.comm, self.first = folder, comm, comm.rank == 0
        self._notify = notify
        self.shared_cores = environment.ranks_share_cores(comm)
        # Of several threads of linear algebra the one that calls counts: it works as long as any of them. Where
        # processor time stands for time, each phase has its own to the microsecond.
        alone = self.shared_cores or environment.blas_threads() == 1
        cpu = time.process_time if alone else CallingThread()
        self.clock = Clock(started, cpu, read=READ if alone and not self.shared_cores else 0.0)
        self.run = next(iter(load(folder.path / "config.yaml").runs.values()))

    def load(self) -> None:
        """The network, the method, and this rank's rows. Raises UserError where they do not fit into memory."""
        run, comm = self.run, self.comm
        with self.clock.phase("load"):
            built = build(run, comm.size)
            self.plan, self.method, network = built.plan, built.method, built.network
            needed = memory.check(built.memory(), comm)
            if self.method.settles:
                free = memory.available_per_rank(comm)
                room = None if free is None else free - needed
                self.method.settle(network, self.plan.rows_train, comm.size, room)
                needed = memory.check(built.memory(), comm)
            self.memory_mb = needed / memory.MB
            checkpoints = self.method.checkpoints
            self.tell(
                {"event": "planned", "ranks": comm.size, "memory_mb": self.memory_mb, "checkpoints": checkpoints}
            )
            self.parts = shards.load(self.plan, comm)
        train = self.parts.train
        self.problem = Problem(
            a0=train.a0,
            y=targets(train.labels, network.sizes[-1]),
            network=network,
            loss=losses.load(run.loss)(),
            comm=comm,
            clock=self.clock,
            seed=run.seed,
            start=train.start,
            total=train.total,
            memory=memory.available_per_rank(comm),
            threads=environment.blas_threads(),
        )

    def describe(self) -> None:
        """Record where the run runs, and on what."""
        run, parts = self.run, self.parts
        hosts = self.comm.gather(environment.host())
        # What must be the same where the run goes on: else a checkpoint is not its own.
        self.unchanged: dict[str, Any] = {"hash": run.hash(), "rows": parts.train.total}
        if hosts is not None:
            described = environment.describe(run, self.comm, hosts, self.plan.source)
            self.unchanged["data"] = described["data_sha256"]
            device = {} if self.method.accelerator is None else {"device": self.method.accelerator}
            self.folder.write_environment({**described, **device, "memory_estimate_mb": round(self.memory_mb)})
            self.tell({"event": "loaded", "rows_train": parts.train.total, "rows_test": parts.test.total})
        with self.clock.phase("load"):
            self.comm.barrier()  # nobody's first reduction waits for what rank 0 writes
        for text in self.plan.notes:
            self.note(text)

    def train(self, interrupted: Callable[[], bool]) -> Outcome:
        """Until the target, the budget or a stop."""
        run, parts, checkpoints = self.run, self.parts, None
        if self.method.checkpoints:
            rows = parts.train.start, parts.train.start + parts.train.a0.shape[1]
            checkpoints = Checkpoints(self.folder.path, self.comm, self.unchanged, *rows, self.note)
        self.checkpoints = checkpoints
        return Loop(
            method=self.method,
            problem=self.problem,
            train=parts.train,
            test=parts.test,
            validation=parts.validation,
            stop=run.stop,
            evaluate=run.evaluate,
            clock=self.clock,
            listener=self,
            interrupted=interrupted,
            checkpoints=checkpoints,
            checkpoint=run.checkpoint,
        ).run()

    # --- what the loop tells

    def tell(self, event: Event) -> None:
        """Tell the driver."""
        if self.first:
            self._notify(event)

    def note(self, text: str) -> None:
        """Something that the user should know."""
        if self.first:
            self.folder.log(text)
        self.tell(note(text))

    def evaluated(self, e: Evaluation) -> None:
        """A row of the curve, and a plain line of the log."""
        if self.first:
            self.folder.append(e)
            auc = "" if e.test_auc is None else f"  test AUC {e.test_auc:.4f}"
            self.folder.log(
                f"iteration {e.iteration:>5}  train {e.train_s:9.3f} s  loss {e.train_loss:.6f}  "
                f"train accuracy {e.train_accuracy:.4f}  test accuracy {e.test_accuracy:.4f}{auc}"
            )
            phases, held = dict(self.clock.seconds), memory.resident_mb()
            self.tell({"event": "evaluation", "row": e.row(), "phases": phases, "memory_mb": held})

    def resumed(self, iteration: int, evaluations: list[Evaluation]) -> None:
        """The curve until there."""
        if self.first:
            self.folder.rewrite(evaluations)
        if iteration:
            self.note(f"going on from the checkpoint of iteration {iteration}")

    # --- the end

    def record(self, outcome: Outcome, options: Sequence[str]) -> None:
        """All files but the curve; the summary comes last, as the run has ended when it is there."""
        folder, clock = self.folder, self.clock
        if outcome.final:
            tables = self._confusion(outcome)
            trained = outcome.iterations > 0 and outcome.status != Status.DIVERGED
            if trained and np.count_nonzero(np.sum(tables["final"], axis=0)) == 1:
                self.note(CONSTANT)
            if self.first:
                folder.write_confusion({"classes": list(self.plan.split.classes), **tables})
        ranks = self.comm.gather((clock.seconds, clock.wall, memory.peak_rss_mb(), clock.cpu_seconds, clock.work))
        if ranks is None:
            return
        seconds, walls, peaks, cpu_seconds, works = map(list, zip(*ranks, strict=True))
        folder.write_phases(summarise_phases(seconds, walls))
        if None not in works:
            folder.write_phases(over_ranks(cpu_seconds), "cpu.csv")
        if outcome.final and outcome.saved is not None:
            weights = {"best": outcome.best or outcome.final, "final": outcome.final}
            folder.write_weights(weights, self._constants(outcome) | outcome.saved)
        found = judge(works, self.shared_cores, self.run.data.stream)
        threads, stopped = environment.blas_threads(), outcome.status == Status.INTERRUPTED
        summary = Summary(
            **identity(self.run, self.comm.size),
            status=outcome.status,
            reason=outcome.reason,
            time_to_target_s=outcome.time_to_target_s,
            previous_evaluation_s=outcome.previous_evaluation_s,
            iterations=outcome.iterations,
            best_test_accuracy=outcome.best_test_accuracy,
            final_test_accuracy=outcome.final_test_accuracy,
            best_test_auc=largest(e.test_auc for e in outcome.evaluations),
            final_test_auc=largest(e.test_auc for e in outcome.evaluations[-1:]),
            train_s=outcome.train_s,
            wall_s=max(walls),
            load_s=max(rank.get("load", 0.0) for rank in seconds),
            threads_per_rank=threads,
            rows_train=self.parts.train.total,
            rows_test=self.parts.test.total,
            peak_rss_mb=max(peaks),
            cpu_share=found.cpu_share,
            disturbed=found.disturbed,
            shared_cores=self.shared_cores,
            data_made_up=self.plan.source.made_up,
            rerun=rerun_line(folder.path, self.comm.size, threads, options, stopped),
        )
        folder.write_summary(summary)
        if self.checkpoints is not None and not stopped:
            self.checkpoints.remove()
        self.tell({"event": "finished", "status": outcome.status})

    def _confusion(self, outcome: Outcome) -> dict[str, list[list[int]]]:
        """Test rows by true class (rows) and predicted class (columns), for the final and the best weights."""
        tables, problem, test = {}, self.problem, self.parts.test
        classes = len(self.plan.split.classes)
        for name, W in (("final", outcome.final), ("best", outcome.best or outcome.final)):
            assert outcome.model is not None
            labels = predicted(outcome.model, W, problem.loss.threshold, test.a0)
            counts = np.zeros((classes, classes + 1))  # the last column: outputs that were NaN, of no class
            np.add.at(counts, (test.labels, labels), 1)
            self.comm.allreduce(counts)
            tables[name] = (counts if counts[:, -1].any() else counts[:, :-1]).astype(int).tolist()
        return tables

    def _constants(self, outcome: Outcome) -> dict[str, Any]:
        """What a prediction needs beside the weights."""
        problem, network, scaling = self.problem, self.problem.network, self.parts.scaling
        return {
            "bias": network.bias,
            "activation": self.run.network.activation,
            "loss": self.run.loss,
            "classes": np.asarray(self.plan.split.classes),
            "threshold": problem.loss.threshold,
            **scaling.packed(),
            "best_iteration": outcome.best_iteration,
            "final_iteration": outcome.evaluations[-1].iteration,
            **({} if outcome.gates is None else {"gates": outcome.gates}),
            **({} if network.convolution is None else {"convolution": network.convolution.packed()}),
            **({} if network.recurrence is None else {"recurrence": network.recurrence.packed()}),
        }


def main(folder: str, ranks: str, watched_s: str, *options: str) -> None:
    """One rank of a job. An error is one JSON line for the driver, and ends the job on every rank."""

    rank = 0
    this_rank.end_with_the_launcher()
    try:
        comm = this_rank.connect(int(ranks))
        rank = comm.rank
        this_rank.answer(comm)
        if float(watched_s) and isinstance(comm, MPI):
            this_rank.watch(comm, float(watched_s))
        work(RunFolder(Path(folder)), comm, tell, options, _STARTED)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # the run is recorded, and its ranks take their leave
    except UserError as error:
        tell({"event": "error", "rank": rank, "user": True, "message": str(error)})
        raise SystemExit(UserError.exit_code) from None
    except SystemExit as end:
        message = f"it ended before the run did, with exit code {end.code or 0}"
        tell({"event": "error", "rank": rank, "user": False, "message": message})
        raise SystemExit(1) from None  # with 0 the others would wait for it forever
    except BaseException as error:
        message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        tell({"event": "error", "rank": rank, "user": False, "message": message})
        raise  # the traceback is printed by whoever started this rank, and goes to log.txt


if __name__ == "__main__":
    main(*sys.argv[1:])
