"""``python -m mpi4py -m admmctl.launch.probe``: what MPI does here, as one JSON line on rank 0.

It expects no number of ranks: the size that it prints shows whether the ranks have found each other.
"""

import json
import platform
import sys
import time

import numpy as np

from admmctl.comm import MPI
from admmctl.launch.inherited import code

NUMBERS = 1 << 18  # 1 MiB: large enough to go through shared memory or the network for real


def main() -> None:
    """One Allreduce of ``NUMBERS``, timed and checked."""
    comm = MPI()
    buffer = np.full(NUMBERS, comm.rank + 1, dtype=np.float32)
    comm.barrier()
    start = time.perf_counter()
    comm.allreduce(buffer)
    seconds = time.perf_counter() - start
    ranks = comm.gather((platform.node(), code()))
    right = bool((buffer == comm.size * (comm.size + 1) / 2).all())
    if ranks is not None:
        hosts, codes = (sorted(set(column)) for column in zip(*ranks, strict=True))
        found = {"size": comm.size, "library": comm.library(), "hosts": hosts, "codes": codes}
        sys.stdout.write(json.dumps({**found, "right": right, "seconds": seconds}) + "\n")


if __name__ == "__main__":
    main()
