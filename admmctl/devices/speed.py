"""How fast a device multiplies matrices: what the speed of a method on it is held against."""

import statistics
import time
from typing import Any

from admmctl.devices.library import allow_tf32, torch_for

SIDE_ON_PROCESSOR, SIDE_ON_GPU = 2048, 8192  # a GPU is faster with more


class Product:
    """A square matrix of float32 on a device, and room for its product with itself. Raises MissingExtra."""

    def __init__(self, device: str, matmul: str = "float32") -> None:
        self._torch, self._gpu = torch_for(device), device != "cpu"
        if self._gpu:
            allow_tf32(self._torch, matmul == "tf32")
        self.side = SIDE_ON_GPU if self._gpu else SIDE_ON_PROCESSOR
        self._square: Any = self._torch.ones((2, self.side, self.side), device=device)
        self.torch_version: str = self._torch.__version__
        self.gflops()  # the first one sets up what it computes with

    def gflops(self) -> float:
        """GFLOP/s of one product: on a processor of the time in which it worked."""
        clock = time.perf_counter if self._gpu else time.process_time
        self._wait()
        started = clock()
        self._torch.matmul(self._square[0], self._square[0], out=self._square[1])
        self._wait()
        return 2 * self.side**3 / max(clock() - started, 1e-9) / 1e9

    def median_gflops(self, repeat: int = 5) -> float:
        """The median of so many."""
        return statistics.median(self.gflops() for _ in range(repeat))

    def _wait(self) -> None:
        if self._gpu:
            self._torch.cuda.synchronize()
