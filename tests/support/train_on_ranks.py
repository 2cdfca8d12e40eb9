"""Trains in the folders of several runs, one after another, on all ranks of one job.

``python -m mpi4py train_on_ranks.py RANKS FOLDER...``; each folder has its config.yaml, as the driver leaves it.
"""

import sys
import time
from pathlib import Path

from admmctl.launch.rank import connect
from admmctl.runs.record import RunFolder
from admmctl.runs.worker import work

if __name__ == "__main__":
    comm = connect(int(sys.argv[1]))
    for folder in sys.argv[2:]:
        work(RunFolder(Path(folder)), comm, lambda event: None, (), time.perf_counter())
