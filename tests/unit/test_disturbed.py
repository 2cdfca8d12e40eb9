"""Whether other work took the cores of a run: what is said of it, what cannot be told, what the kernel counts."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from admmctl.runs.disturbed import LEAST, SHARE, Disturbance, Queue, Work, judge

QUIET, SLOWED = Work(10.0, 9.9, 0.1), Work(10.0, 6.0, 3.9)


def judged(*ranks, share_cores=False, streams=False):
    found = judge(ranks, share_cores, streams)
    return found.cpu_share, found.disturbed


@pytest.mark.parametrize(
    ("ranks", "share", "disturbed"),
    [
        ([QUIET], 0.99, False),
        ([SLOWED], 0.6, True),
        ([QUIET, SLOWED, QUIET], 0.6, True),  # one rank is enough: the others wait for it
        ([Work(10.0, 10.2, 0.0)], 1.0, False),  # clocks are not that exact
        ([Work(10.0, SHARE * 10, 0.5)], SHARE, False),
        ([Work(10.0, 6.0, 0.3)], 0.6, None),  # it waited, and hardly for a core: for a disk, a device
        ([Work(10.0, 6.0, 0.3), SLOWED], 0.6, True),
        ([Work(10.0, 6.0, 0.3), QUIET], 0.6, None),
        ([Work(10.0, 9.9, 8.0)], 0.99, False),  # it waited while it waited for other ranks
    ],
)
def test_a_rank_is_disturbed_where_its_own_work_waited_for_a_core(ranks, share, disturbed):
    assert judged(*ranks) == (pytest.approx(share), disturbed)


def test_too_little_work_says_nothing():
    short = Work(0.9 * LEAST, 0.1 * LEAST, 0.8 * LEAST)
    assert judged(short) == (None, None)
    assert judged(short, QUIET) == (0.99, False)
    assert judged(Work(0.0, 0.0, 0.0)) == (None, None)


def test_work_that_is_not_known_says_nothing():
    assert judged(None, SLOWED) == (None, None)


def test_ranks_that_share_cores_wait_for_each_other():
    assert judged(SLOWED, share_cores=True) == (0.6, None)


@pytest.mark.parametrize("streams", [False, True])
def test_where_the_system_counts_no_waiting_rows_from_disk_may_explain_it(streams):
    unknown = Work(10.0, 6.0, None)
    assert judged(unknown, streams=streams) == (0.6, None if streams else True)
    assert judged(QUIET._replace(queued=None), streams=streams) == (0.99, False)


def test_no_rank_no_verdict():
    assert judge([], False, False) == Disturbance(None, None)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="how long threads wait is not counted here")
def test_a_busy_neighbour_on_our_only_core_makes_us_wait_and_sleeping_does_not():
    cores = os.sched_getaffinity(0)
    core = min(cores)
    loop = (
        f"import os, time\nos.sched_setaffinity(0, {{{core}}})\nprint(flush=True)\nend = time.monotonic() + 20\n"
    )
    neighbour = subprocess.Popen(
        [sys.executable, "-c", f"{loop}while time.monotonic() < end: pass"], stdout=subprocess.PIPE
    )
    os.sched_setaffinity(0, {core})
    try:
        assert neighbour.stdout is not None
        neighbour.stdout.readline()
        queue, start, ran = Queue(), time.monotonic(), time.process_time()
        while time.monotonic() - start < 0.3:
            pass
        missing = time.monotonic() - start - (time.process_time() - ran)
        waited = queue.seconds
    finally:
        os.sched_setaffinity(0, cores)
        neighbour.kill()
        neighbour.communicate()
    assert waited is not None
    assert waited >= missing / 2 > 0
    asleep = Queue()
    time.sleep(0.3)
    assert asleep.seconds is not None
    assert asleep.seconds < 0.15
