"""The clock of training over ranks: what rank 0 does besides is nobody's training."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
from support.ranks import on_ranks
from support.scripted import ScriptedMethod, loop

from admmctl.runs.clock import Clock


class Together(ScriptedMethod):
    """A method whose ranks meet in every step, as those of any method do."""

    def step(self, state: int) -> int:
        with self.problem.clock.phase("reduce"):
            self.problem.comm.allreduce(np.zeros(1))
        return state + 1

    def init(self, problem: Any) -> int:
        self.problem = problem
        return 0


def test_ranks_that_wait_while_rank_0_records_do_not_train():
    # Measuring rule 1: train_s counts optimisation only; recording a row of the curve is outside.
    def work(comm: Any) -> float:
        comm.barrier = lambda: comm.allreduce(np.zeros(1))
        made, _ = loop(Together([{}]), comm=comm, iterations=5)
        made.clock = Clock()
        made.problem = replace(made.problem, clock=made.clock)
        made.listener.evaluated = lambda evaluation: time.sleep(0.05 * (comm.rank == 0))
        return made.run().train_s

    assert max(on_ranks(2, work)) < 0.1  # of 0.3 s of recording
