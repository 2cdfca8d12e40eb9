"""The keys of a method block that say what computes."""

from typing import Any, Literal

from pydantic import Field

from admmctl.comm import Comm
from admmctl.devices.library import Device, number, of_rank, torch_for
from admmctl.settings import Settings


class DeviceSettings(Settings):
    """Keys of a method block that says what computes."""

    backend: Literal["numpy", "torch"] = Field(default="numpy", description="the library that computes")
    device: Device = Field(default="cpu", description="where it computes: cpu, cuda or cuda:N")
    matmul: Literal["float32", "tf32"] = Field(
        default="float32", description="products on a GPU: in full, or with factors rounded to 10 bits"
    )

    def usual(self) -> dict[str, Any]:
        return super().usual() | {"backend": "numpy", "device": "cpu", "matmul": "float32"}

    def wrong_device(self) -> list[tuple[str, str]]:
        """What does not fit together: (key, message) each."""
        if self.backend == "numpy" and self.device != "cpu":
            return [("device", "backend: numpy runs on the processor; use backend: torch, or device: cpu")]
        if self.device == "cpu" and self.matmul != "float32":
            return [("matmul", f"{self.matmul} is of a GPU; use device: cuda, or matmul: float32")]
        return []

    def require(self) -> None:
        """Raises MissingExtra where the library, or the device, is not here."""
        if self.backend == "torch":
            torch_for(self.device)

    def check_ranks(self, ranks: int) -> None:
        """Raises UserError where so many ranks on this host have no device each."""
        if self.backend == "torch" and self.device == "cuda":
            of_rank(self.device, 0, ranks, torch_for(self.device).cuda.device_count())

    def place(self, comm: Comm) -> str:
        """The device of this rank: 'cpu', 'cuda:1'. Collective. Raises UserError where it has none."""
        if self.device != "cuda":
            return self.device
        return of_rank(self.device, *comm.local(), torch_for(self.device).cuda.device_count())

    @property
    def accelerator(self) -> str | None:
        """The name of the device, where it is not the processor."""
        if self.backend == "numpy" or self.device == "cpu":
            return None
        return str(torch_for(self.device).cuda.get_device_name(number(self.device)))


class LoopSettings(DeviceSettings):
    """Of a method with element-wise loops that PyTorch can compile."""

    compile: bool = Field(
        default=False,
        description="backend: torch: make one pass of every element-wise loop, by torch.compile; it takes seconds "
        "before training, and a C++ compiler",
    )

    def usual(self) -> dict[str, Any]:
        return super().usual() | {"compile": False}

    def wrong_device(self) -> list[tuple[str, str]]:
        wrong = super().wrong_device()
        if self.compile and self.backend == "numpy":
            wrong.append(("compile", "is of backend: torch; NumPy's loops are compiled anyway"))
        return wrong


def device_name(settings: Settings) -> str | None:
    """What computes in the place of NumPy, by name: a GPU, or PyTorch on the processor. None for NumPy."""
    if not isinstance(settings, DeviceSettings) or settings.backend == "numpy":
        return None
    return settings.accelerator or "cpu (PyTorch)"
